"""Runs the real Claude Code client, in the versions that tests/run installed, against a server, and
records what passed between them. Its prompts and tool texts live in memory during a test only."""
import http.client
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path

from pensieve import REQUEST_LIMIT_S, TOKEN

CLIENTS = Path(os.environ.get("PENSIEVE_E2E_CLAUDE", "build/e2e/claude-code")).resolve()
VERSIONS = ["2.1.329", "2.1.197"]  # tests/run installs these
SMALL_TOOLS = ["--tools", "Bash,Read,Write,Edit"]
MODEL = "pensieve-tiny"


def client(version):
    return CLIENTS / version / "node_modules" / ".bin" / "claude"


def clean_environment(home):
    """A home of its own and a bare PATH; nothing else of the environment."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "SHELL": "/bin/sh", "LANG": "C.UTF-8",
            "TERM": "xterm-256color", "DISABLE_AUTOUPDATER": "1"}


def told(url, window, token=TOKEN, model=MODEL):
    """What the launcher tells the client (src/application/cli/client_environment.cpp)."""
    models = ["ANTHROPIC_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"] + [
        "ANTHROPIC_DEFAULT_%s_MODEL" % family for family in ("OPUS", "SONNET", "HAIKU", "FABLE")]
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": token, **{name: model for name in models},
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window), "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "4096",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "API_TIMEOUT_MS": "600000"}


def skip_onboarding(home, directory):
    """The home of somebody who has used the client before, and trusts the directory."""
    (Path(home) / ".claude.json").write_text(json.dumps({
        "hasCompletedOnboarding": True, "theme": "dark",
        "projects": {str(directory): {"hasTrustDialogAccepted": True}}}))


class Client:
    """One version with a home of its own, talking to `url`."""

    def __init__(self, version, home, url, window=32768):
        self.version, self.home, self.url, self.window = version, Path(home), url, window
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self):
        return {**clean_environment(self.home), **told(self.url, self.window)}

    def run(self, where, *args, stdin="", **variables):
        """`claude ARGS` in a directory -> CompletedProcess with text."""
        return subprocess.run([str(client(self.version)), *args], cwd=where, input=stdin, text=True,
                              capture_output=True, timeout=REQUEST_LIMIT_S, env={**self.environment, **variables})

    def events(self, where, *args, **more):
        """The same with every event of the session as an object."""
        done = self.run(where, *args, "--output-format", "stream-json", "--verbose", **more)
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Session:
    """One process of the client that is told one thing after the other, as its SDK does."""

    def __init__(self, claude, where, *args):
        self.process = subprocess.Popen(
            [str(client(claude.version)), "-p", "--input-format", "stream-json", "--output-format", "stream-json",
             "--verbose", *args], cwd=where, env=claude.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def say(self, text):
        """-> the `result` event."""
        message = {"type": "user", "message": {"role": "user", "content": text}}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("type") == "result":
                return event
        raise AssertionError("the client ended: %s" % self.process.wait())

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(REQUEST_LIMIT_S) == 0


class Exchange:
    """One request and its answer."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers = method, path, headers
        self.body = json.loads(body) if body else {}
        self.status, self.answer = None, b""

    @property
    def conversation(self):
        """Requests of one session and agent share a prompt that grows."""
        return (self.headers.get("x-claude-code-session-id"), self.headers.get("x-claude-code-agent-id"))

    @property
    def events(self):
        lines = self.answer.decode("utf-8").split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    @property
    def text(self):
        return "".join(e["delta"].get("text", "") for e in self.events if e["type"] == "content_block_delta")

    @property
    def usage(self):
        """The last word on usage; 0 for what was not said."""
        usage = {}
        for event in self.events:
            usage.update(event.get("usage") or event.get("message", {}).get("usage", {}))
        return usage

    @property
    def prompt_tokens(self):
        return sum(self.usage[k] for k in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))

    @property
    def error(self):
        return json.loads(self.answer)["error"]


class Recorder:
    """Stands between client and server, passes everything on as it comes, and keeps it."""

    def __init__(self, port):
        self.exchanges, self.lock = [], threading.Lock()
        # rewrite(exchange) -> bytes sent to the client instead of the server's answer, or None.
        self.rewrite = lambda exchange: None
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                exchange = Exchange(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with recorder.lock:
                    recorder.exchanges.append(exchange)
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_LIMIT_S)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                exchange.status = answer.status
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("connection", "close")
                self.close_connection = True
                self.end_headers()
                instead = recorder.rewrite(exchange)
                try:
                    while piece := answer.read1(65536):
                        exchange.answer += piece
                        if instead is None:
                            self.wfile.write(piece)
                            self.wfile.flush()
                    if instead is not None:
                        self.wfile.write(instead)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client left; so do we
                finally:
                    upstream.close()

            do_GET = do_POST = do_HEAD = pass_on

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def messages(self):
        """The requests to /v1/messages, in the order in which they came."""
        with self.lock:
            return [e for e in self.exchanges if e.path.split("?")[0] == "/v1/messages"]

    def conversations(self):
        found = {}
        for exchange in self.messages:
            found.setdefault(exchange.conversation, []).append(exchange)
        return found


def sse(*events):
    return "".join("event: %s\ndata: %s\n\n" % (e["type"], json.dumps(e)) for e in events).encode()


def a_tool_call(name, arguments, call="toolu_test0001"):
    """A streamed answer that calls one tool."""
    return sse(
        {"type": "message_start", "message": {
            "id": "msg_test", "type": "message", "role": "assistant", "model": MODEL, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "tool_use", "id": call, "name": name, "input": {}}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "input_json_delta", "partial_json": json.dumps(arguments)}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
         "usage": {"input_tokens": 1, "output_tokens": 1}},
        {"type": "message_stop"})
