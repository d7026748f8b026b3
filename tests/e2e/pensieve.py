"""Starts the real binary for a test and talks to it: a server on a free port with a home directory
of its own, a plain HTTP client that shows what is on the wire, and the reference prompts."""
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("PENSIEVE_BINARY", str(ROOT / "build" / "dev" / "pensieve"))
SANITIZED = b"__asan_init" in Path(BINARY).read_bytes()   # slower, and looks for leaks at its end
TINY = ROOT / "tools" / "tiny-model" / "artefacts"
TOKEN = "sk-test-0123456789abcdef"
START_LIMIT_S = 60   # a sanitizer build on a busy machine; normal is under one second
REQUEST_LIMIT_S = 300


def environment(home, token=TOKEN):
    """Nothing of the developer's own settings: no token, no proxy, no model hub."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("PENSIEVE_", "ANTHROPIC_", "OPENAI_", "HF_")) and "proxy" not in k.lower()}
    env["HOME"] = env["PENSIEVE_HOME"] = str(home)
    if token:
        env["PENSIEVE_TOKEN"] = token
    # Freed memory is given back at once, so that a growing RssAnon means something.
    env["ASAN_OPTIONS"] = ":".join(filter(None, [
        os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=1", "thread_local_quarantine_size_kb=64",
        "allocator_release_to_os_interval_ms=100"]))
    return env


def run(home, *args, timeout=REQUEST_LIMIT_S, **options):
    """One command to its end -> CompletedProcess with text."""
    return subprocess.run([BINARY, *map(str, args)], env=environment(home), timeout=timeout,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


class Server:
    """A running `pensieve skip`. Its output is kept in `log`; `log_file` is where it logs to instead of there."""

    def __init__(self, home, *args, model="tiny", token=TOKEN, port=0, env=None, log_file=None):
        self.home, self.token, self.log_file = Path(home), token, log_file
        args = [*args, *(["--log-file", log_file] if log_file else [])]
        self.home.mkdir(parents=True, exist_ok=True)
        self.output = self.home / "output.log"
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(
                [BINARY, "skip", *(["--model", str(model)] if model else []), "--port", str(port), *map(str, args)],
                env={**environment(home, token), **(env or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.port = self._wait_for_port()
        self.url = "http://127.0.0.1:%d" % self.port

    def _wait_for_port(self):
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            text = self.log + (self.log_file.read_text() if self.log_file and self.log_file.exists() else "")
            found = re.search(r"address:? +http://127\.0\.0\.1:(\d+)", text)
            if found:
                port = int(found.group(1))
                try:
                    if request(port, "GET", "/health").status == 200:
                        return port
                except OSError:
                    pass
            if self.process.poll() is not None:
                raise AssertionError("ended with %d:\n%s" % (self.process.returncode, self.log))
            time.sleep(0.02)
        self.kill()
        raise AssertionError("not ready after %d s:\n%s" % (START_LIMIT_S, self.log))

    @property
    def log(self):
        return self.output.read_text(errors="replace")

    @property
    def pid(self):
        return self.process.pid

    def status(self, field):
        """A number of /proc/PID/status: RssAnon (KiB), Threads."""
        text = Path("/proc/%d/status" % self.pid).read_text()
        return int(re.search(r"^%s:\s+(\d+)" % field, text, re.M).group(1))

    def open_files(self):
        """How many descriptors are open once that has not changed for half a second: the server sees a
        client's end of a connection a little after the client does."""
        last, since = None, time.monotonic()
        while time.monotonic() - since < 0.5:
            now = len(os.listdir("/proc/%d/fd" % self.pid))
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.02)
        return last

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def stop(self):
        """Ends it in order and checks that it did: no sanitizer report, no leak, status 0."""
        if self.process.poll() is None:
            self.signal()
        status = self.wait()
        assert status == 0, "exit status %d:\n%s" % (status, self.log[-8000:])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    # ---- requests
    def get(self, path, **options):
        return request(self.port, "GET", path, token=self.token, **options)

    def post(self, body, path="/v1/messages", **options):
        return request(self.port, "POST", path, body, token=self.token, **options)

    def stream(self, body):
        return Stream(self.port, {**body, "stream": True}, self.token)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return "".join(b["text"] for b in self.json["content"] if b["type"] == "text")


def headers_for(token):
    headers = {"anthropic-version": "2023-06-01", "content-type": "application/json"}
    if token:
        headers["x-api-key"] = token
    return headers


def request(port, method, path, body=None, token=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_LIMIT_S)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {**headers_for(token), **(headers or {})})
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Stream:
    """An event stream, read event by event: (name, data) pairs. Closing it early is leaving."""

    def __init__(self, port, body, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_LIMIT_S)
        self.connection.request("POST", "/v1/messages", json.dumps(body).encode(), headers_for(token))
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __iter__(self):
        name, data = None, []
        for line in self.response:
            line = line.decode("utf-8").rstrip("\n").rstrip("\r")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data.append(line[6:])
            elif not line and name:
                assert len(data) == 1, "one data line per event: %r" % data
                yield name, json.loads(data[0])
                name, data = None, []
        assert name is None and not data, "the stream ended inside an event"

    def until(self, name):
        for got, data in self:
            if got == name:
                return data
        raise AssertionError("the stream ended before " + name)

    def close(self):
        """Leaves at once."""
        self.response.close()
        self.connection.close()


class Collected:
    """A whole stream, its nesting checked on the way."""

    def __init__(self, stream):
        self.names, self.text, self.error, self.stop_reason, self.usage = [], "", None, None, {}
        open_block = None
        for name, data in stream:
            assert data["type"] == name
            self.names.append(name)
            if name == "message_start":
                assert len([n for n in self.names if n != "ping"]) == 1
                self.usage.update(data["message"]["usage"])
            elif name == "content_block_start":
                assert open_block is None
                open_block = data["index"]
            elif name == "content_block_delta":
                assert data["index"] == open_block
                self.text += data["delta"].get("text", "")
            elif name == "content_block_stop":
                assert data["index"] == open_block
                open_block = None
            elif name == "message_delta":
                self.stop_reason = data["delta"]["stop_reason"]
                self.usage.update(data["usage"])
            elif name == "error":
                self.error = data["error"]
        stream.close()
        ends = [n for n in self.names if n in ("message_stop", "error")]
        assert len(ends) == 1 and self.names[-1] == ends[0], self.names[-4:]
        assert self.error or open_block is None
        self.ended = ends[0]


def at_once(jobs):
    """Runs the functions at the same time, one thread each -> their results, in order."""
    results, failures = [None] * len(jobs), []
    gate = threading.Barrier(len(jobs))

    def work(i):
        try:
            gate.wait(30)
            results[i] = jobs[i]()
        except BaseException as e:  # noqa: B036 - shown in the test's own thread
            failures.append(e)
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(REQUEST_LIMIT_S)
        assert not t.is_alive(), "a request did not end"
    if failures:
        raise failures[0]
    return results


def eventually(check, limit_s, what, meanwhile=lambda: None):
    """Waits until check() is true; returns the seconds it took."""
    begin = time.monotonic()
    while not check():
        assert time.monotonic() - begin < limit_s, "not within %g s: %s" % (limit_s, what)
        meanwhile()
        time.sleep(0.005)
    return time.monotonic() - begin


# ---- prompts
def user(text, max_tokens=96, **more):
    return {"model": "tiny", "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": "user", "content": text}], **more}


def endless(i):
    """A request that keeps its place for well over a thousand tokens: the end token stands in the
    prompt as well, so the penalty puts it behind every token that has not been said."""
    return user("count to %d" % (20 + i), max_tokens=3000, repetition_penalty=100.0)


TURN = re.compile(r"<\|(system|user|assistant)\|>\n(.*?)<\|end\|>\n", re.S)


def reference_cases():
    """The reference prompts as requests: name, request, ids, expected greedy text and token count."""
    cases = []
    for case in json.loads((TINY / "reference.json").read_text())["cases"]:
        body = {"model": "tiny", "max_tokens": 96, "temperature": 0, "messages": []}
        for role, content in TURN.findall(case["prompt"]):
            if role == "system":
                body["system"] = content
            else:
                body["messages"].append({"role": role, "content": content})
        rendered = "".join("<|%s|>\n%s<|end|>\n" % t for t in TURN.findall(case["prompt"])) + "<|assistant|>\n"
        assert rendered == case["prompt"], case["name"]
        cases.append({"name": case["name"], "request": body, "ids": case["ids"], "text": case["gguf"]["text"],
                      "greedy": case["gguf"]["greedy"]})
    return cases
