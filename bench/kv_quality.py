#!/usr/bin/env python3
"""What quantised keys and values cost: the embedded model's answers with each KV type, held against
the expected ones, and how far its distributions move on long contexts.

  tools/build release kv_quality
  bench/kv_quality.py                       the gate, with as many tasks as take about six minutes
  bench/kv_quality.py --tasks 200 --contexts 2

Needs `numpy` and `sentencepiece`. Tasks are what tools/tiny-model/data.py makes from a seed: half of
them phrased as in training, half with phrasings that were held out of it. A task counts as right when
the greedy answer is the expected text, every character of it.
Ends with status 1 when a rate is further below f16's than the gate allows.
"""
import argparse
import os
import random
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TINY = os.path.join(ROOT, "tools", "tiny-model")
MODEL = os.path.join(TINY, "artefacts", "pensieve-tiny-q4_0.gguf")
sys.dont_write_bytecode = True
sys.path.insert(0, TINY)

import data                                                        # noqa: E402
from tokenizer import END, END_OF_TEXT, Tokenizer                  # noqa: E402

GATE = {"q8": 0.5, "q8/q4": 2.0, "q4": 2.0}   # points of exact answers below f16's
LIMIT = 160                                   # tokens of an answer


def run(binary, words, lines=()):
    text = "".join(" ".join(map(str, ids)) + "\n" for ids in lines)
    done = subprocess.run([binary, *map(str, words)], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.splitlines()


def tasks(tok, count):
    """-> [(kind, prompt ids, expected text)], half of each split"""
    out = []
    for split in ("train", "heldout"):
        plain, systems, tools = data.heldout(random.Random(20260101), split)
        cases = plain + tools
        random.Random(1).shuffle(cases)
        for case in cases[:count // 2]:
            system = case.get("system")
            head = [] if system is None else [
                {"role": "system", "content": systems[system] if isinstance(system, int) else system}]
            out.append((split, tok.prompt(head + case["messages"]), case["expect"].strip()))
    return out


def contexts(tok, count, length):
    """conversations in a row, `length` tokens of them"""
    maker = data.Maker(tok, 11, 60_000)
    out = []
    for _ in range(count):
        ids = []
        while len(ids) < length:
            turn, _codes = maker.tokens(maker.conversation())
            ids += [int(i) for i in turn[:length // 3]]
        out.append(ids[:length])
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default=os.path.join(ROOT, "build", "release", "kv_quality"))
    ap.add_argument("--kv", default="f16,q8,q8/q4,q4", help="types, the first is what others are held against")
    ap.add_argument("--tasks", type=int, default=500)
    ap.add_argument("--contexts", type=int, default=4)
    ap.add_argument("--length", type=int, default=2304, help="tokens of a context; the last 256 are compared")
    a = ap.parse_args()
    types = a.kv.split(",")
    tok = Tokenizer()

    cases = tasks(tok, a.tasks)
    splits = ("train", "heldout")
    rates, exact, failed = {}, {}, False
    print("| KV | exact, phrased as in training | exact, held-out phrasing | all | right only here | right only in %s | seconds |" % types[0])
    print("|---|---|---|---|---|---|---|")
    for kv in types:
        began = time.monotonic()
        lines = run(a.binary, ["greedy", MODEL, kv, LIMIT, "%d,%d" % (END, END_OF_TEXT)], [ids for _, ids, _ in cases])
        took = time.monotonic() - began
        right = [tok.decode(list(map(int, line.split()))).strip() == expect for line, (_, _, expect) in zip(lines, cases)]
        exact[kv] = right
        rate = lambda keep: 100 * sum(r for r, k in zip(right, keep) if k) / max(1, sum(keep))
        rates[kv] = rate([True] * len(cases))
        gained = sum(r and not b for r, b in zip(right, exact[types[0]]))
        lost = sum(b and not r for r, b in zip(right, exact[types[0]]))
        print("| %s | %.2f %% | %.2f %% | %.2f %% of %d | %d | %d | %.0f |" % (
            (kv, *(rate([c[0] == s for c in cases]) for s in splits), rates[kv], len(cases), gained, lost, took)), flush=True)
        failed |= rates[kv] < rates[types[0]] - GATE.get(kv, 100)

    if a.contexts:
        lines = contexts(tok, a.contexts, a.length)
        print("\n| KV | mean KL from f16, nats | 99th percentile | same best token | positions |\n|---|---|---|---|---|")
        for kv in types[1:]:
            rows = [line.split() for line in run(a.binary, ["divergence", MODEL, kv, a.length - 256], lines)]
            kl = sorted(float(r[0]) for r in rows)
            print("| %s | %.6f | %.5f | %.2f %% | %d |" % (
                kv, sum(kl) / len(kl), kl[int(.99 * len(kl))], 100 * sum(r[1] == "1" for r in rows) / len(rows), len(rows)), flush=True)
    if failed:
        sys.exit("kv_quality: a rate is further below %s's than the gate allows: %s" % (types[0], GATE))


if __name__ == "__main__":
    main()
