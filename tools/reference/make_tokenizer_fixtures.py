#!/usr/bin/env python3
"""Token ids from two other implementations, for src/domain/tokenizer/testdata/.

    make_tokenizer_fixtures.py                     writes the fixtures (under 1 MB)
    make_tokenizer_fixtures.py --large MB FILE     one fixture with MB of text, for a run by hand:
                                                   PENSIEVE_TOKENIZER_CORPUS=FILE tokenizer_test
    make_tokenizer_fixtures.py --strings N FILE    the same with N strings: as many each of code, prose,
                                                   CJK, emoji, white space, texts that look like control
                                                   tokens, and mixtures
    --pieces 32000                                 behind either: a vocabulary of that many pieces,
                                                   trained here on the text files of this machine

Each fixture is {"vocabulary": what a GGUF file would hold, "cases": [{"text", "ids"}]}. The ids are
those of sentencepiece; Hugging Face's tokenizers must give the same from the tokenizer.json of the
same vocabulary, or the script stops. Made with sentencepiece 0.2.3 and tokenizers 0.23.3 (PyPI); the
same ids with tokenizers 0.22.2.

    tiny.json        the embedded model's vocabulary: Llama's conventions, byte fallback
    crossing.json    pieces that run across spaces, trained on intents.txt
    no-bytes.json    no byte fallback: unknown characters become the unknown token
    no-prefix.json   no dummy prefix
"""
import argparse
import glob
import io
import json
import os
import random

import sentencepiece
import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY = os.path.join(ROOT, "tools/tiny-model")
OUT = os.path.join(ROOT, "src/domain/tokenizer/testdata")
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

LANGUAGES = [
    "The quick brown fox jumps over the lazy dog.", "Der flinke braune Fuchs springt über den faulen Hund; süß, groß, Öl.",
    "Le renard brun saute par-dessus le chien paresseux, çà et là, œuvre naïve.", "El zorro marrón salta sobre el perro perezoso. ¿Qué? ¡Sí, mañana!",
    "Быстрая коричневая лиса прыгает через ленивую собаку.", "Η γρήγορη αλεπού πηδά πάνω από το τεμπέλικο σκυλί.",
    "敏捷的棕色狐狸跳过了懒狗。", "素早い茶色の狐がのろまな犬を飛び越える。カタカナ、ひらがな、漢字。", "빠른 갈색 여우가 게으른 개를 뛰어넘는다.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول.", "השועל החום המהיר קופץ מעל הכלב העצלן.", "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ", "Con cáo nâu nhanh nhẹn nhảy qua con chó lười biếng.", "Szybki brązowy lis przeskakuje nad leniwym psem: żółć, łąka.",
    "Hızlı kahverengi tilki tembel köpeğin üzerinden atlar. İıŞşĞğ", "Gyors barna róka átugrik a lusta kutyán; őű.", "ንቁው ቡናማ ቀበሮ", "დაჭერილი სწრაფი მელია", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕞𝕒𝕥𝕙 𝒾𝓃 𝓅𝓁𝒶𝓃𝑒 𝟙",
]
ODDITIES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u2581", " \u2581 x\u2581y", "a", " a", "a ", "  a  b  ", "\u00a0\u2003\u3000x", "\ufeffbom", "\u200b\u200d\u2060", "\ufffd\ufffe\uffff",
    "👩‍👩‍👧‍👦 family", "👩🏽‍🚀🏳️‍🌈🇩🇪🇫🇷", "😀😃😄😁😆😅🤣😂🙂🙃", "e\u0301 vs é, n\u0303 vs ñ", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "क्षि ज्ञ त्र", "\u0378\U000e0001\U0010ffff\U0001f9ff", "\x01\x02\x1b[31mred\x1b[0m\x7f", "price: 12,345.67€ (±0.5 %) ½ × ² ≠ ³", "0123456789" * 5, "3.14159 1e-10 0xDEADBEEF 192.168.0.1",
    "def f(x):\n    if x:\n        return {'a': [1, 2, 3]}\n\n\n\treturn None\n", "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2.0f; }  // sum\n",
    '{"name": "Bash", "arguments": {"command": "ls -la \\"my dir\\"\\n", "n": -1.5e3, "x": null}}', "https://example.org/a/b?c=d&e=%20f#g user@host:~/x$ ./run --flag=value | tee log.txt 2>&1",
    "| a | b |\n|---|---|\n| `x` | **y** |\n", "<0x0A><0x41> <0xFF> <0x>", "<tool_call>\n{}\n</tool_call>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "=" * 70, "-" * 33 + "." * 17 + "#" * 9, "usususususususus" * 4, "hahahahaha" * 6, " " * 100 + "x" + " " * 33, "\n" * 50 + "\t" * 20, "….,;:!?…" * 5,
    "日本" * 30, "\u0301" * 40, "🙂" * 25, "ab" * 50 + "ba" * 50, "The the THE tHe theThe", "don't won't it's I'm you're", "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
]
RANGES = [(0x20, 0x7e)] * 4 + [(0xa0, 0x17f), (0x370, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe5b), (0x300, 0x36f), (0x2000, 0x206f), (0x2190, 0x25ff),
          (0x3040, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0x1f300, 0x1f6ff), (0x1f1e6, 0x1f1ff), (0x20000, 0x2a6df), (9, 13)]


def scalar(rng):
    while True:
        c = rng.randrange(1, 0x110000)
        if not 0xd800 <= c <= 0xdfff:
            return chr(c)


def random_text(rng, words, length):
    """a mixture: words, characters of one range, any characters, runs, white space"""
    out = []
    while sum(map(len, out)) < length:
        r = rng.random()
        if r < 0.45:
            out.append(" ".join(rng.choice(words) for _ in range(rng.randrange(1, 9))) + rng.choice((" ", "\n", ", ", ". ", "", "  ")))
        elif r < 0.65:
            low, high = rng.choice(RANGES)
            out.append("".join(chr(rng.randrange(low, high + 1)) for _ in range(rng.randrange(1, 12))))
        elif r < 0.72:
            out.append("".join(scalar(rng) for _ in range(rng.randrange(1, 6))))
        elif r < 0.80:
            out.append(rng.choice((" ", "\n", "\t", "a", "e", "0", ".", "=", "-", "é", "中", "🙂", "\u0301", "us", "he", "\u2581")) * rng.randrange(1, 20))
        elif r < 0.86:
            out.append(rng.choice(("<s>", "</s>", "<unk>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "<0x0A>", "[PAD4107]")))
        elif r < 0.93:
            out.append(rng.choice(ODDITIES))
        else:
            out.append(rng.choice(LANGUAGES))
    return "".join(out)[:length]


def texts(rng, n_random, words, specials):
    out = LANGUAGES + ODDITIES
    for name in specials:
        out += [name, " " + name, "text %s more text" % name, name + name, name[:-1], name[1:]]
    return out + [random_text(rng, words, rng.choice((5, 20, 60, 200))) for _ in range(n_random)]


def vocabulary(sp, more=(), size=0, add_prefix=True):
    """what tokenizer.ggml.* of a GGUF file would hold; `more` are control tokens behind the pieces"""
    rows = []
    for i in range(sp.get_piece_size()):
        kind = UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL
        rows.append((sp.id_to_piece(i), sp.get_score(i), kind))
    rows += [(name, -1000.0, CONTROL) for name in more]
    rows += [("[PAD%d]" % i, -10000.0, 5) for i in range(len(rows), size)]
    return {"tokens": [r[0] for r in rows], "scores": [round(r[1], 6) for r in rows], "kinds": [r[2] for r in rows],
            "bos": sp.bos_id(), "unknown": sp.unk_id(), "eos": [sp.eos_id()], "add_space_prefix": add_prefix}


def hugging_face(v):
    """tokenizer.json of a vocabulary, without added tokens: those it would find in text"""
    rank = {t: i for i, (t, k) in enumerate(zip(v["tokens"], v["kinds"])) if k == NORMAL}
    merges = []
    for t, i in rank.items():
        merges += [(-v["scores"][i], rank[t[:k]], rank[t[k:]], t[:k], t[k:]) for k in range(1, len(t)) if t[:k] in rank and t[k:] in rank]
    steps = [{"type": "Prepend", "prepend": "\u2581"}] if v["add_space_prefix"] else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "dropout": None, "unk_token": v["tokens"][v["unknown"]], "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": {t: i for i, t in enumerate(v["tokens"])}, "merges": [[a, b] for _, _, _, a, b in sorted(merges)]}}


def train(sentences, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False,
                                             allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=2, minloglevel=2, **options)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def fixture(sp, v, all_texts, check_hf=True):
    hf = tokenizers.Tokenizer.from_str(json.dumps(hugging_face(v))) if check_hf else None
    cases, different = [], 0
    for text in all_texts:
        ids = sp.encode(text)
        if hf is not None and hf.encode(text, add_special_tokens=False).ids != ids:
            different += 1
            print("Hugging Face differs:", repr(text[:80]), ids[:20], hf.encode(text).ids[:20])
        cases.append({"text": text, "ids": ids})
    if different:
        raise SystemExit("%d of %d texts differ between the two libraries" % (different, len(cases)))
    return {"vocabulary": v, "cases": cases}


def write(path, content):
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"vocabulary": %s,\n"cases": [\n' % json.dumps(content["vocabulary"], ensure_ascii=False, separators=(",", ":")))
        f.write(",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in content["cases"]) + "\n]}\n")
    print("%-60s %8d bytes, %d texts" % (os.path.relpath(path, ROOT), os.path.getsize(path), len(content["cases"])))


def machine_text(limit):
    """text files of this machine, for a large vocabulary and a large corpus"""
    total = 0
    for pattern in ("/usr/share/common-licenses/*", "/usr/share/doc/*/copyright", os.path.dirname(os.__file__) + "/*.py", os.path.dirname(os.__file__) + "/*/*.py", "/usr/include/*.h", "/usr/include/*/*.h"):
        for name in sorted(glob.glob(pattern)):
            try:
                text = open(name, encoding="utf-8").read()
            except (OSError, UnicodeDecodeError):
                continue
            yield text.replace("\0", "")
            total += len(text)
            if total > limit:
                return


def trained_or_tiny(n_pieces, rng):
    if not n_pieces:
        return tiny()

    def lines():
        for text in machine_text(20_000_000):
            yield from text.split("\n")
        for _ in range(20000):
            yield "".join(rng.choice(LANGUAGES).split())[:rng.randrange(1, 60)]
    sp = train(lines(), vocab_size=n_pieces, byte_fallback=True, split_digits=True, max_sentencepiece_length=16, character_coverage=0.9999, train_extremely_large_corpus=False)
    return sp, vocabulary(sp)


def write_by_hand(path, sp, v, all_texts):
    write(path, fixture(sp, v, all_texts))
    with open(path + ".tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(hugging_face(v), f, ensure_ascii=False)


def large(megabytes, path, n_pieces):
    rng = random.Random(10)
    words = open(os.path.join(TINY, "words.txt"), encoding="utf-8").read().split()
    sp, v = trained_or_tiny(n_pieces, rng)
    all_texts, total = [], 0
    found = [t for t in machine_text(megabytes * 500_000) if t]
    while total < megabytes * 1_000_000:
        text = cut_from(rng, found, 4000) if rng.random() < 0.5 and found else random_text(rng, words, rng.choice((10, 100, 1000, 5000)))
        all_texts.append(text)
        total += len(text.encode())
    write_by_hand(path, sp, v, all_texts)


def cut_from(rng, found, longest):
    text = rng.choice(found)
    at = rng.randrange(len(text))
    return text[at:at + rng.randrange(1, longest)]


WHITE = (" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\ufeff", "\u2581", "\x85")
FACES = [chr(c) for c in range(0x1f600, 0x1f650)] + [chr(c) for c in range(0x1f680, 0x1f6d0)] + ["👍", "❤", "☺", "🧑", "👩", "👨", "👧", "🏳", "⚕", "🚀", "🌈"]
JOINTS = ("\u200d", "\ufe0f", "\U0001f3fb", "\U0001f3ff", "", "", " ")


def kinds_of_text(v, words):
    """name -> a string of that kind, from a random number generator"""
    files = [t for t in machine_text(20_000_000) if t]
    code = [t for t in files if "\n    " in t and ("def " in t or "#define" in t or "{" in t)]
    prose = [t for t in files if t not in set(code)]
    names = [t for t, k in zip(v["tokens"], v["kinds"]) if k != NORMAL] + ["<|end|>", "<|im_start|>", "<|eot_id|>", "<s>", "[INST]", "<tool_call>"]

    def characters(rng, ranges, most):
        return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, most)))

    def look_alike(rng):
        name = rng.choice(names)
        cut = rng.randrange(len(name) + 1)
        return rng.choice((name, name[:cut], name[cut:], name + rng.choice(names), " " + name, name + " ", name[:cut] + rng.choice(WHITE) + name[cut:], name.upper(),
                           rng.choice(words) + name + rng.choice(words), name[:cut] + "\u200b" + name[cut:], "%s\n%s%s" % (name, rng.choice(words), rng.choice(names))))
    return {
        "code": lambda rng: cut_from(rng, code, 600),
        "prose": lambda rng: cut_from(rng, prose, 600) if rng.random() < 0.6 else " ".join(rng.choice(LANGUAGES) for _ in range(rng.randrange(1, 5))),
        "cjk": lambda rng: characters(rng, [(0x4e00, 0xa000)] * 3 + [(0x3041, 0x3097), (0x30a1, 0x30fb), (0xac00, 0xd7a4), (0x3001, 0x3010), (0xff01, 0xff5f), (0x20000, 0x2a6e0), (0x30, 0x7f)], 80),
        "emoji": lambda rng: "".join(rng.choice(FACES) + rng.choice(JOINTS) for _ in range(rng.randrange(1, 20))) + "".join(chr(rng.randrange(0x1f1e6, 0x1f200)) for _ in range(rng.randrange(3))),
        "white space": lambda rng: "".join(rng.choice(WHITE) * rng.randrange(1, 5) + rng.choice(("", "", rng.choice(words))) for _ in range(rng.randrange(1, 12))),
        "control look-alikes": look_alike,
        "mixture": lambda rng: random_text(rng, words, rng.choice((5, 20, 60, 200, 1000))),
    }


def strings(n, path, n_pieces):
    rng = random.Random(9)
    words = open(os.path.join(TINY, "words.txt"), encoding="utf-8").read().split()
    sp, v = trained_or_tiny(n_pieces, rng)
    kinds, all_texts = kinds_of_text(v, words), []
    for name, make in kinds.items():
        seen = set()
        while len(seen) < -(-n // len(kinds)):
            seen.add(make(rng).replace("\0", ""))
        all_texts += sorted(seen)
        print("%-20s %6d different strings, %9d bytes" % (name, len(seen), sum(len(t.encode()) for t in seen)))
    write_by_hand(path, sp, v, all_texts)


def tiny():
    sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(TINY, "artefacts/tokenizer.model"))
    with open(os.path.join(TINY, "artefacts/mlx/tokenizer.json"), encoding="utf-8") as f:
        added = [t["content"] for t in json.load(f)["added_tokens"] if t["id"] >= sp.get_piece_size()]
    return sp, vocabulary(sp, added, 4160)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", nargs=2, metavar=("MB", "FILE"))
    parser.add_argument("--strings", nargs=2, metavar=("N", "FILE"))
    parser.add_argument("--pieces", type=int, default=0)
    options = parser.parse_args()
    if options.large:
        return large(int(options.large[0]), options.large[1], options.pieces)
    if options.strings:
        return strings(int(options.strings[0]), options.strings[1], options.pieces)
    rng = random.Random(7)
    words = open(os.path.join(TINY, "words.txt"), encoding="utf-8").read().split()
    intents = open(os.path.join(TINY, "intents.txt"), encoding="utf-8").read().split("\n")
    sp, v = tiny()
    specials = [t for t, k in zip(v["tokens"], v["kinds"]) if k in (UNKNOWN, CONTROL)] + ["[PAD4107]", "<0x41>"]
    write(os.path.join(OUT, "tiny.json"), fixture(sp, v, texts(rng, 400, words, specials)))
    few = texts(rng, 120, words, ["<s>", "</s>", "<unk>"])
    sp = train(intents, vocab_size=700, byte_fallback=True, split_by_whitespace=False, max_sentencepiece_length=24)
    write(os.path.join(OUT, "crossing.json"), fixture(sp, vocabulary(sp), few))
    sp = train(intents, vocab_size=300, byte_fallback=False, character_coverage=0.98)
    write(os.path.join(OUT, "no-bytes.json"), fixture(sp, vocabulary(sp), few))
    sp = train(intents, vocab_size=600, byte_fallback=True, add_dummy_prefix=False)
    write(os.path.join(OUT, "no-prefix.json"), fixture(sp, vocabulary(sp, add_prefix=False), few))


if __name__ == "__main__":
    main()
