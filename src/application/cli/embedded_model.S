// The embedded model's bytes between two symbols, for ELF and Mach-O. The file's name comes from
// CMakeLists.txt. Aligned to a page, so that the weights lie as they do in a mapped file.
#ifdef __CET__
#include <cet.h>  // notes that nothing here stands against landing pads for indirect branches
#endif
#ifdef __APPLE__
#define SYMBOL(name) _##name
        .section __TEXT,__const
#else
#define SYMBOL(name) name
        .section .rodata.pensieve_embedded_model, "a", %progbits
#endif
        .globl SYMBOL(pensieve_embedded_model_begin)
        .globl SYMBOL(pensieve_embedded_model_end)
        .balign 4096
SYMBOL(pensieve_embedded_model_begin):
        .incbin PENSIEVE_EMBEDDED_MODEL_FILE
SYMBOL(pensieve_embedded_model_end):
        .byte 0
#ifndef __APPLE__
        .section .note.GNU-stack, "", %progbits
#endif
