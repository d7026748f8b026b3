// The page's bytes between two symbols, for ELF and Mach-O. The file's name comes from
// CMakeLists.txt.
#ifdef __CET__
#include <cet.h>  // notes that nothing here stands against landing pads for indirect branches
#endif
#ifdef __APPLE__
#define SYMBOL(name) _##name
        .section __TEXT,__const
#else
#define SYMBOL(name) name
        .section .rodata.pensieve_page, "a", %progbits
#endif
        .globl SYMBOL(pensieve_page_begin)
        .globl SYMBOL(pensieve_page_end)
SYMBOL(pensieve_page_begin):
        .incbin PENSIEVE_PAGE_FILE
SYMBOL(pensieve_page_end):
        .byte 0
#ifndef __APPLE__
        .section .note.GNU-stack, "", %progbits
#endif
