#!/usr/bin/env python3
"""Small byte-level BPE tokenizers and the ids that Hugging Face's tokenizers give with them, for
src/domain/tokenizer/testdata/byte-level/ (about 500 kB). Made with tokenizers 0.23.3,
sentencepiece 0.2.3 (imported by the script beside this one) and unicodedata2 16.0.0 (PyPI).

    gpt2.json qwen2.json llama3.json   tokenizer.json files, trained here on texts of this repository,
                                       each in the form of the model it is named after
    texts.json                         texts, and what random texts are put together from
    unicode.json                       for each 4,096 code points, a hash of their classes as the
                                       tokenizers library sees them, and one of their NFC
    NAME.ids.json                      ids of the texts, and a hash of the ids of each random text

The random texts are not stored: random_text() below and in byte_level_reference_test.cpp are the
same function. digits.ids.json is gpt2.json with each digit cut off first.

    make_byte_level_fixtures.py                     writes all of that
    make_byte_level_fixtures.py --show NAME INDEX   a random text, its pre-tokens and its ids
    make_byte_level_fixtures.py --large MB FOLDER   MB of text with ids, for a run by hand:
                                                    PENSIEVE_BYTE_LEVEL_CORPUS=FOLDER tokenizer_test
"""
import argparse
import json
import os
import random

import unicodedata2 as unicode
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from make_tokenizer_fixtures import LANGUAGES, ODDITIES, ROOT, TINY, machine_text, random_text as mixture

OUT = os.path.join(ROOT, "src/domain/tokenizer/testdata/byte-level")
N_RANDOM = 12000
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Pieces that no merge leads to: a text becomes one of them only where ignore_merges is set.
UNREACHABLE = ["Ġconfiguration", "ĠunreachableĠ", "return", "Ġxyzzy", "ÃĤÂ½", "qwx", "zzzz"]


def special(content, is_special=True):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not is_special, "special": is_special}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(regex):
    return {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}, BYTE_LEVEL]}


BOS = {"type": "Sequence", "processors": [BYTE_LEVEL, {
    "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}]}
FORMS = {
    "gpt2": dict(normalizer=None, pre_tokenizer=dict(BYTE_LEVEL, use_regex=True), ignore_merges=False, pairs=False, post_processor=BYTE_LEVEL,
                 added=[special("<|endoftext|>")]),
    "qwen2": dict(normalizer={"type": "NFC"}, pre_tokenizer=split(CL100K % r"\p{N}"), ignore_merges=False, pairs=True, post_processor=BYTE_LEVEL,
                  added=[special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"), special("<tool_call>", False), special("</tool_call>", False)]),
    "llama3": dict(normalizer=None, pre_tokenizer=split(CL100K % r"\p{N}{1,3}"), ignore_merges=True, pairs=True, post_processor=BOS,
                   added=[special(t) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")]),
}
DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, dict(BYTE_LEVEL, use_regex=True)]}


def training_texts():
    for name in ("intents.txt", "words.txt", "slots.py", "train.py", "tokenizer.py", "README.md"):
        with open(os.path.join(TINY, name), encoding="utf-8") as f:
            yield from f.read().split("\n\n")
    for _ in range(20):
        yield from LANGUAGES + ODDITIES


def train(name):
    form = FORMS[name]
    tokenizer = Tokenizer.from_str(json.dumps(whole(form, {"a": 0}, [])))
    tokenizer.model = models.BPE()
    tokenizer.train_from_iterator(training_texts(), trainers.BpeTrainer(vocab_size=2000, min_frequency=2, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    for piece in UNREACHABLE:
        vocab.setdefault(piece, len(vocab))
    merges = model["merges"] if form["pairs"] else [" ".join(m) for m in model["merges"]]
    added = [dict(t, id=len(vocab) + i) for i, t in enumerate(form["added"])]
    if name == "gpt2":  # its one special token is in model.vocab, too
        vocab["<|endoftext|>"] = len(vocab)
    return whole(form, vocab, merges, added)


def whole(form, vocab, merges, added=()):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added), "normalizer": form["normalizer"], "pre_tokenizer": form["pre_tokenizer"], "post_processor": form["post_processor"],
            "decoder": BYTE_LEVEL, "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                                             "ignore_merges": form["ignore_merges"], "vocab": vocab, "merges": merges}}


def reference(content):
    """The tokenizer without its added tokens: text that looks like one is text."""
    return Tokenizer.from_str(json.dumps(dict(content, added_tokens=[], post_processor=None)))


def unsettled():
    """code points that NFC of the tokenizers library, older than Unicode 16, does not know"""
    nfc, out = normalizers.NFC(), set()
    for code in range(0x110000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        parts = unicode.decomposition(chr(code))
        texts = [chr(code), "a\u0301" + chr(code) + "\u0316"]
        involved = [code]
        if parts and not parts.startswith("<"):
            involved += [int(p, 16) for p in parts.split()]
            texts.append("".join(map(chr, involved[1:])))
        if any(nfc.normalize_str(t) != unicode.normalize("NFC", t) for t in texts):
            out.update(involved)
    return sorted(out)


class Random:
    """SplitMix64"""
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return (z ^ (z >> 31)) % n


def random_text(sources, seed):
    rng, out = Random(seed), []

    def character(low, high):
        code = low + rng.below(high - low + 1)
        if not 0xD800 <= code <= 0xDFFF and code not in sources["excluded"]:
            out.append(chr(code))

    for _ in range(1 + rng.below(12)):
        kind = rng.below(8)
        if kind < 4:
            out.append(sources["parts"][rng.below(len(sources["parts"]))])
        elif kind < 6:
            low, high = sources["ranges"][rng.below(len(sources["ranges"]))]
            for _ in range(1 + rng.below(8)):
                character(low, high)
        elif kind == 6:
            one = sources["runs"][rng.below(len(sources["runs"]))]
            out.append(one * (1 + rng.below(20)))
        else:
            for _ in range(1 + rng.below(4)):
                character(0, 0x10FFFF)
    return "".join(out)


def sources():
    parts = ["the ", " and", " of", "don't", "I'LL", "we've", "it'S", "they're", "'d", "'M", "x'ſ", "'", "''", "'t'", " 's", "Hello", " World", "hello_world", "camelCase", "42", " 2024", "12345678", "3.14", "½", "Ⅻ", "٣٤٥", "१२३", " 1", "1 ",
             "\n", "\n\n", "\r\n", " \n", "\n ", "  \n  ", "\t", " \t ", "    ", "        ", " ", "  ", "   x", "\u00a0", "\u3000", "\u2028", "\u0085", "\x1c", "\u200b", "\ufeff",
             "def f(x):\n    return x[1:]\n", "if (a != b) { c += 0x1F; }\n", "#include <vector>\n", "// -- *** --\n", "{\"key\": [1, null]}", "https://example.org/?q=1&r=%20", "SELECT * FROM t;", "a=b", "!!!", "...", " ...\n", "…", "—", "€", "$", "→",
             "naïve", "nai\u0308ve", "é", "e\u0301", "\u0301", "\u0316\u0301", "\u0301\u0316", "q\u0307\u0323", "Å", "\u212b", "\u2126", "\u212a", "\u1fbe\u0308\u0301", "\u0958", "한글", "\u1112\u1161\u11ab", "\u1112\u1161", "각\u11a8", "\ufb01", "ǆ", "ß", "İ", "ſ",
             "日本語", "你好，世界", "カタカナ", "ひらがな", "か\u3099", "Привет", " мир", "שלום", "مرحبا", "हिन्दी", "ไทย", "ελληνικά", "👩‍👩‍👧‍👦", "👩🏽‍🚀", "🇩🇪", "😀", "🏳️‍🌈", "𝕞𝕒𝕥𝕙", "𝟙𝟚",
             "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\n", "<s>", "<unk>", "<0x41>", "Ġ", "Ċ", "Ġthe"]
    parts += [p.replace("Ġ", " ") for p in UNREACHABLE]
    runs = [" ", "\n", "\t", "\r\n", "a", "e", "é", "0", "7", ".", "-", "=", "'", "中", "🙂", "\u0301", "\u0316\u0301", "us", " a", "\u00a0", " \n", "한", "½"]
    ranges = [[0x20, 0x7E], [0x20, 0x7E], [0xA0, 0x17F], [0x9, 0xD], [0x300, 0x345], [0x370, 0x3FF], [0x400, 0x4FF], [0x590, 0x5F4], [0x600, 0x6FF], [0x900, 0x97F], [0xE00, 0xE5B], [0x1100, 0x11FF], [0x1E00, 0x1FFF], [0x2000, 0x206F],
              [0x2100, 0x218F], [0x2190, 0x25FF], [0x3040, 0x30FF], [0x3400, 0x9FFF], [0xAC00, 0xD7A3], [0xF900, 0xFAFF], [0xFE00, 0xFFEF], [0x10000, 0x1FFFF], [0x1F300, 0x1F6FF], [0x20000, 0x2FA1D], [0xE0000, 0xE01EF]]
    return {"seed": 20240607, "n_random": N_RANDOM, "parts": parts, "runs": runs, "ranges": ranges, "excluded": unsettled()}


def fnv(data):
    """FNV-1a, 32 bits"""
    h = 0x811C9DC5
    for byte in data:
        h = ((h ^ byte) * 0x01000193) % 2**32
    return "%08x" % h


def hash_of(ids):
    return fnv(b"".join(token.to_bytes(4, "little") for token in ids))


def unicode_hashes():
    splits = [(name, pre_tokenizers.Split(Regex(regex), "removed", invert=True)) for name, regex in (("L", r"\p{L}"), ("N", r"\p{N}"), ("S", r"\s"))]
    classes, nfc = [], []
    for first in range(0, 0x110000, 0x1000):
        codes = [c for c in range(first, first + 0x1000) if not 0xD800 <= c <= 0xDFFF]
        found = {}
        for name, split_at in splits:
            for piece, _ in split_at.pre_tokenize_str("".join(map(chr, codes))):
                found.update(dict.fromkeys(piece, name))
        classes.append(fnv("".join(found.get(chr(c), "O") for c in codes).encode()))
        # alone, and between marks
        texts = [t for c in codes for t in (chr(c), "a\u0301" + chr(c) + "\u0316")]
        nfc.append(fnv("".join(unicode.normalize("NFC", t) for t in texts).encode()))
    # characters that NFC puts together, and what they fall apart into
    composed = [chr(c) for c in range(0x110000) if not 0xAC00 <= c <= 0xD7A3 and unicode.normalize("NFC", chr(c)) == chr(c) != unicode.normalize("NFD", chr(c))]
    return {"classes": classes, "nfc": nfc, "composed": composed, "decomposed": [unicode.normalize("NFD", c) for c in composed]}


def dump(name, content, indent=None):
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f, ensure_ascii=False, separators=(",", ":"), indent=indent)
        f.write("\n")
    print("%-20s %8d bytes" % (name, os.path.getsize(path)))


def load(name):
    with open(os.path.join(OUT, name), encoding="utf-8") as f:
        return json.load(f)


def variants():
    for name in FORMS:
        yield name, load(name + ".json")
    yield "digits", dict(load("gpt2.json"), pre_tokenizer=DIGITS)


def large(megabytes, folder):
    rng, texts, total = random.Random(11), [], 0
    with open(os.path.join(TINY, "words.txt"), encoding="utf-8") as f:
        words = f.read().split()
    found = [t for t in machine_text(megabytes * 500_000) if t]
    refused = set(map(chr, unsettled()))
    while total < megabytes * 1_000_000:
        text = rng.choice(found) if rng.random() < 0.5 else mixture(rng, words, rng.choice((10, 100, 1000, 5000)))
        at = rng.randrange(len(text) + 1)
        text = "".join(c for c in text[at:at + rng.randrange(1, 4000)] if c not in refused and c != "\0")
        texts.append(text)
        total += len(text.encode())
    os.makedirs(folder, exist_ok=True)
    for name, content in variants():
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as f:
            json.dump([{"text": t, "ids": e.ids} for t, e in zip(texts, reference(content).encode_batch(texts, add_special_tokens=False))], f, ensure_ascii=False)
    print("%d texts, %d bytes" % (len(texts), total))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", nargs=2, metavar=("NAME", "INDEX"))
    parser.add_argument("--large", nargs=2, metavar=("MB", "FOLDER"))
    options = parser.parse_args()
    if options.large:
        return large(int(options.large[0]), options.large[1])
    if options.show:
        s, tokenizer = load("texts.json"), reference(dict(variants())[options.show[0]])
        text = random_text(s, s["seed"] + int(options.show[1]))
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        print(repr(text), [p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)], tokenizer.encode(text, add_special_tokens=False).ids, sep="\n")
        return
    os.makedirs(OUT, exist_ok=True)
    for name in FORMS:
        dump(name + ".json", train(name))
    s = sources()
    s["texts"] = LANGUAGES + ODDITIES + s["parts"] + ["a" + p + "b" for p in s["parts"]]
    dump("texts.json", s)
    dump("unicode.json", unicode_hashes())
    generated = [random_text(s, s["seed"] + i) for i in range(N_RANDOM)]
    print("%d random texts, %d different, %d bytes" % (len(generated), len(set(generated)), sum(len(t.encode()) for t in generated)))
    for name, content in variants():
        tokenizer = reference(content)
        encode = lambda texts: [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        dump(name + ".ids.json", {"ids": encode(s["texts"]), "hashes": "".join(map(hash_of, encode(generated)))})


if __name__ == "__main__":
    main()
