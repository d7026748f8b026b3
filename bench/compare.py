#!/usr/bin/env python3
"""Measure our server and llama.cpp in turn on one model file, and write the ratio down.

Both run on the same machine, the same file and the same number of threads, one after the other in
every round, so that a machine that slows down slows both. The result is the median over rounds.

  bench/compare.py --model phi3-mini-q4_0.gguf --peer path/to/llama-bench
  bench/compare.py --model phi3-mini-mlx-4bit                      ours alone (the peer reads GGUF only)
  bench/compare.py --model … --peer … --rounds 1 --no-write        a try

Ours is asked from outside, over HTTP, as a client asks:
  prefill  POST /v1/messages with a prompt of exactly --prompt tokens that no cache knows, max_tokens
           1; tokens / seconds of the whole request, so parsing and sampling count against us.
  decode   the same prompt three times: to fill the cache, then with max_tokens 1, then with
           max_tokens 1 + --generate; the two answers differ by --generate decode steps.
  start    from exec to the first 200 of /health (warm page cache, the file was read before), and the
           memory then and at the end. RssAnon holds the KV arena as far as it is used.
llama.cpp is its own llama-bench. The model comes from tools/make_synthetic_gguf.py or
make_synthetic_mlx.py: their two-letter words are one token each, which makes prompts countable.
"""
import argparse
import csv
import datetime
import http.client
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TOKEN = "bench-token-0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Ours:
    def __init__(self, binary, model, threads, extra):
        self.home = tempfile.TemporaryDirectory()
        self.log = open(os.path.join(self.home.name, "log"), "w+b")
        environment = {**os.environ, "PENSIEVE_HOME": self.home.name, "PENSIEVE_TOKEN": TOKEN}
        began = time.monotonic()
        self.process = subprocess.Popen(
            [binary, "skip", "--model", model, "--port", "0", "--threads", str(threads), *extra],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        while True:
            text = open(self.log.name, errors="replace").read()
            found = re.search(r"http://127\.0\.0\.1:(\d+)", text)
            if found:
                self.port = int(found.group(1))
                try:
                    if self.call("GET", "/health")[0] == 200:
                        break
                except OSError:
                    pass
            if self.process.poll() is not None:
                raise SystemExit("our server ended with %d:\n%s" % (self.process.returncode, text))
            time.sleep(0.005)
        self.ready_s = time.monotonic() - began
        self.overhead = self.ask(["ab"], 1)[1] - 1  # tokens of the chat format around the words

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        connection.request(method, path, json.dumps(body).encode() if body else None,
                           {"x-api-key": TOKEN, "content-type": "application/json", "anthropic-version": "2023-06-01"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None

    def ask(self, words, max_tokens):
        """-> seconds, prompt tokens, cached tokens, output tokens"""
        body = {"model": "bench", "max_tokens": max_tokens, "temperature": 0,
                "messages": [{"role": "user", "content": " ".join(words)}]}
        began = time.monotonic()
        status, answer = self.call("POST", "/v1/messages", body)
        seconds = time.monotonic() - began
        if status != 200:
            raise SystemExit("our server answered %d: %s" % (status, answer))
        usage = answer["usage"]
        cached = usage.get("cache_read_input_tokens") or 0
        prompt = usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0)
        return seconds, prompt, cached, usage["output_tokens"]

    def prefill(self, n_tokens, rng):
        """Tokens per second for a prompt whose first page is new."""
        words = fresh_words(n_tokens - self.overhead, rng)
        seconds, prompt, cached, _ = self.ask(words, 1)
        if prompt != n_tokens or cached > self.overhead:
            raise SystemExit("the prompt has %d tokens, %d of them cached; wanted %d new ones" % (
                prompt, cached, n_tokens))
        return n_tokens / seconds

    def decode(self, n_tokens, depth, rng):
        for _ in range(20):  # a random model may end its answer early; then with another prompt
            words = fresh_words(max(1, depth - self.overhead), rng)
            self.ask(words, 1)
            short = self.ask(words, 1)
            long = self.ask(words, 1 + n_tokens)
            if long[3] == 1 + n_tokens:
                return n_tokens / (long[0] - short[0])
        raise SystemExit("every answer ended before %d tokens" % n_tokens)

    def rss_anon_mib(self):
        text = open("/proc/%d/status" % self.process.pid).read()
        return int(re.search(r"RssAnon:\s+(\d+)", text).group(1)) / 1024

    def health(self):
        return self.call("GET", "/health")[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        self.home.cleanup()


def fresh_words(n, rng):
    return [rng.choice(LETTERS) + rng.choice(LETTERS) for _ in range(n)]


class Peer:
    def __init__(self, binary, model, threads):
        self.binary, self.model, self.threads, self.build = binary, model, threads, "?"

    def bench(self, *args):
        done = subprocess.run([self.binary, "-m", self.model, "-t", str(self.threads), "-r", "1", "-o", "json", *args],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit("the peer failed:\n" + done.stderr[-2000:])
        row = json.loads(done.stdout)[0]
        self.build = row.get("build_commit", "?")
        return row["avg_ts"]

    def prefill(self, n_tokens):
        return self.bench("-p", str(n_tokens), "-n", "0")

    def decode(self, n_tokens, depth):
        return self.bench("-p", "0", "-n", str(n_tokens), "-d", str(depth))


def machine():
    """-> a sentence and a short name for files"""
    name = platform.processor() or platform.machine()
    try:
        name = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read()).group(1)
        memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read()).group(1)) / 2**20
    except (OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.system() + " " + platform.release()
    text = "%s, %d CPUs, %.0f GiB, %s" % (name, os.cpu_count(), memory, system)
    return text, re.sub(r"[^a-z0-9]+", "-", ("%s-%dcpu" % (name, os.cpu_count())).lower()).strip("-")


def commit():
    git = lambda *a: subprocess.run(["git", "-C", ROOT, *a], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "-uno") else "")


def touch_pages(model):
    """Reads the weights once, so that nobody pays for the disk."""
    paths = [model] if os.path.isfile(model) else [os.path.join(model, f) for f in os.listdir(model)]
    for path in paths:
        with open(path, "rb") as f:
            while f.read(1 << 24):
                pass


def tables(rows, tests, rounds):
    """-> Markdown lines: medians, spread and ratio of each test"""
    lines = ["| Test | ours, tokens/s | llama.cpp, tokens/s | ratio |", "|---|---|---|---|"]
    for test in tests:
        def column(engine):
            values = [r["value"] for r in rows if r["test"] == test and r["engine"] == engine]
            if not values:
                return None, "not run"
            return statistics.median(values), "%.2f (%.2f–%.2f)" % (statistics.median(values), min(values), max(values))
        ours, ours_text = column("pensieve")
        peer, peer_text = column("llama.cpp")
        ratio = "%.2f" % (ours / peer) if ours and peer else "–"
        lines.append("| %s | %s | %s | %s |" % (test, ours_text, peer_text, ratio))
    lines += ["", "Medians of %d rounds, minimum and maximum in brackets." % rounds]
    return lines


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--ours", default=os.path.join(ROOT, "build", "release", "pensieve"))
    ap.add_argument("--peer", metavar="LLAMA_BENCH")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--prompt", type=int, default=512)
    ap.add_argument("--generate", type=int, default=64)
    ap.add_argument("--depths", type=lambda s: [int(x) for x in s.split(",")], default=[0], help="0,1024")
    ap.add_argument("--option", action="append", default=[], help="passed to our server, e.g. --option=--kv=f16")
    ap.add_argument("--out", default=os.path.join(ROOT, "bench", "results"))
    ap.add_argument("--no-write", action="store_true")
    a = ap.parse_args()

    touch_pages(a.model)
    rng = random.Random(int(time.time()))
    prefill_test = "prefill %d" % a.prompt
    decode_tests = {d: "decode %d at depth %d" % (a.generate, d) for d in a.depths}
    rows = []

    def note(engine, test, number, value):
        rows.append({"engine": engine, "test": test, "round": number, "value": value})
        print("round %d  %-10s %-26s %8.2f tokens/s" % (number, engine, test, value), flush=True)

    ours = Ours(a.ours, a.model, a.threads, a.option)
    peer = Peer(a.peer, a.model, a.threads) if a.peer else None
    anon_at_start = ours.rss_anon_mib()
    for number in range(1, a.rounds + 1):
        note("pensieve", prefill_test, number, ours.prefill(a.prompt, rng))
        if peer:
            note("llama.cpp", prefill_test, number, peer.prefill(a.prompt))
        for depth, test in decode_tests.items():
            note("pensieve", test, number, ours.decode(a.generate, depth, rng))
            if peer:
                note("llama.cpp", test, number, peer.decode(a.generate, depth))
    anon_at_end, health = ours.rss_anon_mib(), ours.health()
    ours.stop()

    text, short = machine()
    model = os.path.basename(a.model.rstrip("/"))
    command = " ".join([os.path.basename(sys.argv[0])] + [
        os.path.basename(x.rstrip("/")) if os.sep in x else x for x in sys.argv[1:]])
    report = ["# %s, %s" % (model, datetime.date.today().isoformat()), "",
              "- Machine: " + text, "- Commit: " + commit(), "- Command: `%s`" % command,
              "- Threads: %d" % a.threads]
    if peer:
        report.append("- Peer: llama-bench of llama.cpp, build " + peer.build)
    report += ["", *tables(rows, [prefill_test, *decode_tests.values()], a.rounds), "",
               "- Ready (exec to the first 200 of /health, warm page cache): %.2f s" % ours.ready_s,
               "- Anonymous memory: %.0f MiB when ready, %.0f MiB at the end (KV pages in use included)" % (
                   anon_at_start, anon_at_end),
               "- /health at the end: `%s`" % json.dumps(health)]
    print("\n" + "\n".join(report))
    if a.no_write:
        return
    os.makedirs(a.out, exist_ok=True)
    base = os.path.join(a.out, "%s-%s" % (datetime.date.today().isoformat(), short))
    with open(base + ".md", "a" if os.path.exists(base + ".md") else "w", encoding="utf-8") as f:
        f.write("\n".join(report) + "\n\n")
    new = not os.path.exists(base + ".csv")
    with open(base + ".csv", "a", newline="", encoding="utf-8") as f:
        w = csv.writer(f)
        if new:
            w.writerow(["date", "commit", "machine", "model", "threads", "engine", "test", "round", "tokens_per_s"])
        for r in rows:
            w.writerow([datetime.date.today().isoformat(), commit(), text, model, a.threads, r["engine"], r["test"],
                        r["round"], "%.3f" % r["value"]])
    print("written: %s.md, .csv" % base)


if __name__ == "__main__":
    main()
