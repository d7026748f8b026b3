#!/usr/bin/env python3
"""Writes src/domain/tokenizer/internal/unicode_tables.cpp: what byte-level BPE needs to know of
Unicode. The data is that of unicodedata2 16.0.0 (PyPI): Unicode 16 is what the pattern engine of
Hugging Face's tokenizers 0.23 knows, so that the same text is cut at the same places.

    pip install unicodedata2==16.0.0 && tools/make_unicode_tables.py
"""
import os

import unicodedata2 as unicode

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "src/domain/tokenizer/internal/unicode_tables.cpp")
HANGUL = range(0xAC00, 0xD7A4)
# White_Space of PropList.txt; the category alone lacks the control characters.
CONTROL_SPACES = {0x9, 0xA, 0xB, 0xC, 0xD, 0x85}


def char_class(code):
    category = unicode.category(chr(code))
    if category[0] == "Z" or code in CONTROL_SPACES:
        return "kSpace"
    return {"L": "kLetter", "N": "kNumber"}.get(category[0])


def ranges(value_of):
    """[(first, last, value)] of the code points whose value is true"""
    out = []
    for code in range(0x110000):
        value = value_of(code)
        if not value:
            continue
        if out and out[-1][1] == code - 1 and out[-1][2] == value:
            out[-1][1] = code
        else:
            out.append([code, code, value])
    return out


def decompositions():
    """(code, first, second or 0, whether NFC puts it together again), Hangul left out"""
    for code in range(0x110000):
        mapping = unicode.decomposition(chr(code))
        if not mapping or mapping.startswith("<") or code in HANGUL:
            continue
        parts = [int(part, 16) for part in mapping.split()]
        composes = len(parts) == 2 and unicode.normalize("NFC", chr(code)) == chr(code)
        yield code, parts[0], parts[1] if len(parts) == 2 else 0, composes


def table(declaration, rows):
    lines, line = [], " "
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            lines.append(line)
            line = " "
        line += " " + row + ","
    lines.append(line)
    return "%s = {\n%s\n};\n" % (declaration, "\n".join(lines))


def main():
    assert unicode.unidata_version == "16.0.0", unicode.unidata_version
    classes = ["{0x%X, 0x%X, %s}" % tuple(r) for r in ranges(char_class)]
    combining = ["{0x%X, 0x%X, %d}" % tuple(r) for r in ranges(lambda c: unicode.combining(chr(c)))]
    mappings = ["{0x%X, 0x%X, 0x%X, %d}" % d for d in decompositions()]
    with open(OUT, "w", encoding="utf-8") as out:
        out.write("// Made by tools/make_unicode_tables.py from Unicode %s. Not for editing.\n" % unicode.unidata_version)
        out.write('#include "domain/tokenizer/internal/unicode_tables.h"\n\n')
        out.write("namespace pensieve::tokenizer {\nnamespace {\n\n// clang-format off\n")
        out.write("constexpr auto kLetter = CharClass::Letter, kNumber = CharClass::Number, kSpace = CharClass::Space;\n\n")
        out.write(table("constexpr ClassRange kClasses[]", classes) + "\n")
        out.write(table("constexpr CombiningRange kCombining[]", combining) + "\n")
        out.write(table("constexpr Decomposition kDecompositions[]", mappings))
        out.write("// clang-format on\n\n}  // namespace\n\n")
        for kind, name, data in (("ClassRange", "class_ranges", "kClasses"), ("CombiningRange", "combining_ranges", "kCombining"), ("Decomposition", "decompositions", "kDecompositions")):
            out.write("std::span<const %s> %s() {\n  return %s;\n}\n" % (kind, name, data))
        out.write("\n}  // namespace pensieve::tokenizer\n")
    print("%d class ranges, %d combining ranges, %d decompositions, %d bytes" % (len(classes), len(combining), len(mappings), os.path.getsize(OUT)))


if __name__ == "__main__":
    main()
