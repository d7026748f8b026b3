#!/usr/bin/env python3
"""What streams feel of each other: decode of one stream and of eight together, and the gap between two tokens
of a stream while a long prompt is computed beside it.
    bench/streams.py --binary build/release/pensieve --model FILE [--streams 8] [--prompt 6000] [--tokens 48]
Starts a server of its own with a fresh home; prints a table, and with --json one object."""
import argparse
import http.client
import json
import os
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time

TOKEN = "sk-bench-0123456789abcdef"


class Server:
    def __init__(self, binary, model, *more):
        self.home = tempfile.TemporaryDirectory(prefix="pensieve-bench-")
        self.log = open(os.path.join(self.home.name, "log"), "w+")
        self.process = subprocess.Popen(
            [binary, "skip", "--model", model, "--port", "0", "--kv-disk", "off", *more],
            env={**os.environ, "HOME": self.home.name, "PENSIEVE_HOME": self.home.name, "PENSIEVE_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        while not (found := re.search(r"address:? +http://127\.0\.0\.1:(\d+)", open(self.log.name).read())):
            if self.process.poll() is not None:
                sys.exit(open(self.log.name).read())
            time.sleep(0.02)
        self.port = int(found.group(1))

    def stream(self, words, seed, max_tokens):
        """-> (time of sending, times at which pieces of text came)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        draw = random.Random(seed)  # two letters are one token of the synthetic models
        text = " ".join(draw.choice(string.ascii_lowercase) + draw.choice(string.ascii_lowercase) for _ in range(words))
        body = {"model": "x", "max_tokens": max_tokens, "temperature": 1, "stream": True,
                "messages": [{"role": "user", "content": text}]}
        sent = time.monotonic()
        connection.request("POST", "/v1/messages", json.dumps(body),
                           {"content-type": "application/json", "x-api-key": TOKEN})
        times = []
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(answer.read().decode())
        for line in answer:
            if line.startswith(b"data:") and b"content_block_delta" in line:
                times.append(time.monotonic())
        connection.close()
        return sent, times

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.home.cleanup()


def together(server, n, max_tokens, seed):
    """n streams at once -> their times; the prompts are short and differ."""
    found = [None] * n

    def one(i):
        found[i] = server.stream(8, seed + i, max_tokens)[1]
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    return threads, found


def gaps(times, begin=0.0, end=float("inf")):
    return [b - a for one in times for a, b in zip(one, one[1:]) if begin <= a and b <= end]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/release/pensieve")
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=6000, help="tokens of the long prompt, about")
    parser.add_argument("--tokens", type=int, default=48, help="of each stream")
    parser.add_argument("--json", action="store_true")
    options, more = parser.parse_known_args()
    server = Server(options.binary, options.model, *more)
    try:
        one = together(server, 1, options.tokens, 1)
        one[0][0].join()
        alone = statistics.median(gaps(one[1]))
        threads, found = together(server, options.streams, options.tokens, 10)
        for thread in threads:
            thread.join()
        # While all of them decode.
        begin, end = max(t[0] for t in found), min(t[-1] for t in found)
        beside = statistics.median(gaps(found, begin, end))
        n_tokens = sum(1 for t in found for at in t if begin < at <= end)
        rate = n_tokens / (end - begin)

        threads, found = together(server, options.streams, options.tokens * 3, 100)
        time.sleep(3 + 2 * options.streams * alone)
        first = {}

        def long_prompt():
            first["sent"] = time.monotonic()
            times = server.stream(options.prompt, 7, 1)[1]
            first["came"] = times[0] if times else time.monotonic()
        prefill = threading.Thread(target=long_prompt)
        prefill.start()
        for thread in threads:
            thread.join()
        beside_prefill = gaps(found, first["sent"], first.get("came", float("inf")))
        if not beside_prefill:
            sys.exit("the streams were over before the prompt began: more --tokens")
        disturbed = statistics.median(beside_prefill)
        prefill.join()
    finally:
        server.end()
    result = {"streams": options.streams, "gap_alone_s": alone, "gap_s": beside, "one_tokens_per_second": 1 / alone,
              "all_tokens_per_second": rate, "gain": rate * alone, "gap_beside_prefill_s": disturbed,
              "gap_ratio": disturbed / beside, "long_first_token_s": first["came"] - first["sent"]}
    if options.json:
        print(json.dumps(result))
        return
    print("one stream      %6.2f tokens/s, %4.0f ms between tokens" % (1 / alone, alone * 1e3))
    print("%d streams       %6.2f tokens/s, %4.0f ms between tokens: %.2f times one stream" % (
        options.streams, rate, beside * 1e3, rate * alone))
    print("beside a prompt %6s          %5.0f ms between tokens: %.2f times as long (first token of it after %.1f s)" % (
        "", disturbed * 1e3, disturbed / beside, result["long_first_token_s"]))


if __name__ == "__main__":
    main()
