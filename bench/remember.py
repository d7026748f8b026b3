#!/usr/bin/env python3
"""What a prompt costs the second time: cold, as the next turn of the same conversation, and as that turn after the
server was restarted; ours with its disk tier, llama-server with its RAM cache and its slot files.
    bench/remember.py --model FILE.gguf [--peer path/to/llama-server] [--tokens 8000] [--threads N] [--peer-options …]
The model is a synthetic one of tools/make_synthetic_gguf.py (its two-letter words are one token each). First token =
the whole time of a request for one token. Prints a table in Markdown."""
import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

TOKEN = "sk-bench-0123456789abcdef"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(n, seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(LETTERS) + draw.choice(LETTERS) for _ in range(n))


def post(port, path, body, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    sent = time.monotonic()
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **dict(headers)})
    answer = connection.getresponse()
    text = answer.read()
    taken = time.monotonic() - sent
    if answer.status != 200:
        sys.exit("%s: %d %s" % (path, answer.status, text[:500]))
    return json.loads(text), taken


def wait_until_healthy(port, process):
    while process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.01)
    sys.exit("the server ended")


class Ours:
    name = "pensieve"

    def __init__(self, options, home):
        self.options, self.home = options, home

    def start(self):
        log = os.path.join(self.home, "log")
        command = [self.options.binary, "skip", "--model", self.options.model, "--port", "0",
                   "--context", str(self.options.tokens + 1500)]
        if self.options.threads:
            command += ["--threads", str(self.options.threads)]
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, env={**os.environ, "HOME": self.home, "PENSIEVE_HOME": self.home, "PENSIEVE_TOKEN": TOKEN},
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        while not (found := re.search(r"address:? +http://127\.0\.0\.1:(\d+)", open(log).read())):
            if self.process.poll() is not None:
                sys.exit(open(log).read())
            time.sleep(0.005)
        self.port = int(found.group(1))
        wait_until_healthy(self.port, self.process)

    def ask(self, turns):
        roles = ("user", "assistant")
        body = {"model": "x", "max_tokens": 1, "temperature": 0,
                "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}
        answer, taken = post(self.port, "/v1/messages", body, {"x-api-key": TOKEN})
        usage = answer["usage"]
        cached = usage.get("cache_read_input_tokens") or 0
        total = usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0)
        return taken, total, total - cached

    def stop(self):
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait()
        return time.monotonic() - begin

    def before_stop(self):
        return 0.0

    def after_start(self):
        return 0.0


class Peer:
    name = "llama-server"

    def __init__(self, options, home):
        self.options, self.home = options, home
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]

    def start(self):
        command = [self.options.peer, "-m", self.options.model, "--port", str(self.port), "--host", "127.0.0.1",
                   "-c", str(self.options.tokens + 1500), "-np", "1", "--slot-save-path", self.home + "/",
                   "--no-webui", "--no-warmup", *self.options.peer_options.split()]
        if self.options.threads:
            command += ["-t", str(self.options.threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(os.path.join(self.home, "peer.log"), "wb"))
        wait_until_healthy(self.port, self.process)

    def ask(self, turns):
        marks = ("<|user|>\n%s<|end|>\n", "<|assistant|>\n%s<|end|>\n")
        prompt = "".join(marks[i % 2] % text for i, text in enumerate(turns)) + "<|assistant|>\n"
        answer, taken = post(self.port, "/completion", {"prompt": prompt, "n_predict": 1, "temperature": 0,
                                                        "cache_prompt": True, "id_slot": 0})
        return taken, answer["tokens_evaluated"], answer["timings"]["prompt_n"]

    def slot(self, action):
        return post(self.port, "/slots/0?action=" + action, {"filename": "slot.bin"})[1]

    def before_stop(self):
        return self.slot("save")

    def after_start(self):
        return self.slot("restore")

    stop = Ours.stop


def measure(server, tokens):
    begin = time.monotonic()
    server.start()
    ready = time.monotonic() - begin
    first = [words(tokens, 1)]
    second = first + [words(20, 2), words(40, 3)]
    cold, n_prompt, n_cold = server.ask(first)
    again, _, n_again = server.ask(second)
    saving = server.before_stop()
    stopping = server.stop()
    # A turn that neither has seen, after a restart.
    third = first + [words(20, 2), words(40, 4)]
    begin = time.monotonic()
    server.start()
    restoring = server.after_start()
    ready_again = time.monotonic() - begin
    restored, _, n_restored = server.ask(third)
    server.stop()
    return {"ready": ready, "prompt": n_prompt, "cold": cold, "computed cold": n_cold, "again": again,
            "computed again": n_again, "save and stop": saving + stopping, "start and restore": ready_again,
            "restore": restoring, "restored": restored, "computed restored": n_restored,
            "share": (restored + restoring) / cold}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/release/pensieve")
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer")
    # Its flash attention, and so its quantised KV, is the slower way on CPUs.
    parser.add_argument("--peer-options", default="-fa off")
    parser.add_argument("--tokens", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    rows = {}
    for kind in (Ours, Peer) if options.peer else (Ours,):
        with tempfile.TemporaryDirectory(prefix="pensieve-bench-") as home:
            rows[kind.name] = measure(kind(options, home), options.tokens)
    print("| | " + " | ".join(rows) + " |\n|---" * 1 + "|---" * (len(rows)) + "|")
    for label, unit, key in (
            ("tokens of the prompt", "", "prompt"), ("cold: first token", " s", "cold"),
            ("next turn: first token", " s", "again"), ("next turn: tokens computed", "", "computed again"),
            ("saved and stopped in", " s", "save and stop"), ("started (and restored) in", " s", "start and restore"),
            ("after the restart: first token", " s", "restored"),
            ("after the restart: tokens computed", "", "computed restored"),
            ("restored turn / cold", "", "share")):
        cells = []
        for row in rows.values():
            value = row[key]
            cells.append("%.2f %%" % (100 * value) if key == "share" else
                         ("%d" % value if not unit else "%.2f%s" % (value, unit)))
        print("| %s | %s |" % (label, " | ".join(cells)))


if __name__ == "__main__":
    main()
