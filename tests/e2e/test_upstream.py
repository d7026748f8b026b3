"""`--upstream`: both fronts over another server that speaks OpenAI's API. The other server is a second
Pensieve with the embedded model, so what comes through must be what comes directly; and, where it is
installed, llama-cpp-python's server."""
import json
import os
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import pytest

from openai_tools import CASES, RESULT, SYSTEM, anthropic_tools, reference_call, reference_tools
from pensieve import TINY, TOKEN, Collected, Server, endless, environment, eventually, request, user

KEY = "sk-upstream-9876543210"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("behind"), token=KEY)
    yield s
    s.stop()


@pytest.fixture(scope="module")
def front(tmp_path_factory, behind):
    s = Server(tmp_path_factory.mktemp("front"), "--upstream", behind.url, model=None,
               env={"PENSIEVE_UPSTREAM_KEY": KEY, "http_proxy": "http://127.0.0.1:1"})  # not for loopback
    yield s
    s.stop()
    assert KEY not in s.log


@pytest.fixture(scope="module")
def claude(front):
    with anthropic.Anthropic(base_url=front.url, api_key=TOKEN, max_retries=0, timeout=300) as c:
        yield c


def test_the_start_and_health_say_where_answers_come_from(front, behind):
    health = front.get("/health").json
    assert health["backend"] == "upstream" and "engine" not in health
    assert health["model"] == behind.get("/health").json["model"]
    assert health["context_length"] == behind.get("/health").json["context_length"]
    assert behind.url in front.log and front.get("/v1/models").json["data"][0]["id"] == health["model"]


@pytest.mark.parametrize("name", ["hello", "plain-ls", "echo", "tool-result", "tool-error"])
def test_an_answer_is_that_of_the_server_behind(front, behind, name):
    body = CASES[name]["request"]
    through, direct = front.post(body), request(behind.port, "POST", "/v1/messages", body, KEY)
    assert through.status == direct.status == 200
    assert through.text == direct.text == CASES[name]["text"]
    a, b = through.json, direct.json
    assert a["stop_reason"] == b["stop_reason"] and a["model"] == body["model"]
    assert a["usage"]["output_tokens"] == b["usage"]["output_tokens"]
    assert a["usage"]["input_tokens"] + a["usage"]["cache_read_input_tokens"] == len(CASES[name]["ids"])


def test_a_stream_is_well_formed_and_says_the_same(front):
    got = Collected(front.stream(CASES["echo"]["request"]))
    assert got.ended == "message_stop" and got.text == CASES["echo"]["text"]
    assert got.stop_reason == "end_turn" and got.usage["output_tokens"] == len(CASES["echo"]["greedy"]) - 1
    assert got.names.count("content_block_delta") > 3


def test_a_tool_loop_through_the_anthropic_client(claude):
    body = {"model": "claude-x", "max_tokens": 96, "system": SYSTEM, "tools": anthropic_tools(),
            "messages": [{"role": "user", "content": "list the files in src"}]}
    with claude.messages.stream(**body) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    [call] = [b for b in first.content if b.type == "tool_use"]
    assert (call.name, call.input) == reference_call("tool-ls")
    body["messages"] += [
        {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}]
    after = claude.messages.create(**body)
    assert after.content[0].text == CASES["tool-result"]["text"] and after.stop_reason == "end_turn"


def test_a_forced_tool_and_a_schema_go_through(claude):
    forced = claude.messages.create(
        model="m", max_tokens=200, tools=anthropic_tools(), tool_choice={"type": "tool", "name": "Read"},
        messages=[{"role": "user", "content": "list the files in src"}])
    assert [b.name for b in forced.content if b.type == "tool_use"][0] == "Read"
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
              "required": ["name", "age"], "additionalProperties": False}
    answer = claude.messages.create(
        model="m", max_tokens=100, messages=[{"role": "user", "content": "json with name Anna and age 31"}],
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}})
    assert json.loads(answer.content[0].text) == {"name": "Anna", "age": 31}


def test_stop_sequences_are_named_and_max_tokens_holds(claude):
    stopped = claude.messages.create(model="m", max_tokens=64, stop_sequences=["zzz", ", 5"],
                                     messages=[{"role": "user", "content": "count to 12"}])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == ", 5"
    assert stopped.content[0].text == "1, 2, 3, 4"
    cut = claude.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "count to 12"}])
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 5


def test_the_openai_front_goes_through_too(front):
    with openai.OpenAI(base_url=front.url + "/v1", api_key=TOKEN, max_retries=0) as c:
        body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hello"}]}
        got = c.chat.completions.create(**body, logprobs=True, top_logprobs=2)
        assert got.choices[0].message.content == CASES["hello"]["text"]
        assert "".join(t.token for t in got.choices[0].logprobs.content) == CASES["hello"]["text"]
        text = "".join(ch.choices[0].delta.content or "" for ch in c.chat.completions.create(**body, stream=True))
        assert text == CASES["hello"]["text"]
        call = c.chat.completions.create(model="m", temperature=0, tools=reference_tools(), messages=[
            {"role": "system", "content": SYSTEM}, {"role": "user", "content": "list the files in src"}])
        assert call.choices[0].message.tool_calls[0].function.name == "Bash"
        raw = c.completions.create(model="m", prompt="1, 2, 3,", temperature=0, max_tokens=4)
        assert raw.usage.completion_tokens == 4


def running(server, token):
    return request(server.port, "GET", "/health", token=token).json["engine"]["running"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_work_behind(front, behind, stream):
    eventually(lambda: running(behind, KEY) == 0, 20, "nothing runs behind")
    data = json.dumps({**endless(1), "stream": stream}).encode()
    s = socket.create_connection(("127.0.0.1", front.port), timeout=60)
    s.sendall(("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nx-api-key: %s\r\nContent-Type: application/json"
               "\r\nContent-Length: %d\r\n\r\n" % (front.port, TOKEN, len(data))).encode() + data)
    eventually(lambda: running(behind, KEY) == 1, 20, "it runs behind")
    s.close()
    waited = eventually(lambda: running(behind, KEY) == 0, 5, "the place behind is free")
    print("the place behind was free after %.0f ms" % (1000 * waited))


def test_a_full_queue_behind_is_a_status_with_a_wait(front, behind):
    eventually(lambda: running(behind, KEY) == 0, 20, "nothing runs behind")
    streams = [front.stream(endless(i)) for i in range(10)]
    try:
        for s in streams:
            s.until("content_block_delta")
        for more in ({}, {"stream": True}):
            refused = front.post({**user("hello"), **more})
            assert refused.status == 429, refused.body
            assert refused.json["error"]["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["retry-after"]) <= 10
    finally:
        for s in streams:
            s.close()
    eventually(lambda: running(behind, KEY) == 0, 20, "nothing runs behind")


def test_a_prompt_beyond_the_window_behind_says_so_in_the_words_clients_know(tmp_path):
    small = Server(tmp_path / "small", "--context", "256", token=KEY)
    through = Server(tmp_path / "through", "--upstream", small.url, model=None, env={"PENSIEVE_UPSTREAM_KEY": KEY})
    refused = through.post(user("word " * 600))
    assert refused.status == 400
    assert refused.json["error"]["message"].startswith("prompt is too long: ")
    assert refused.json["error"]["message"].endswith(" tokens > 256 maximum")
    small.stop()
    gone = through.post(user("hello"))
    assert gone.status == 503 and small.url in gone.json["error"]["message"] and gone.headers["retry-after"]
    stream = through.post({**user("hello"), "stream": True})
    assert stream.status == 503
    through.stop()


def test_count_tokens_is_an_estimate_that_learns(front):
    body = CASES["tool-ls"]["request"]
    front.post({**body, "max_tokens": 1})
    counted = front.post({k: v for k, v in body.items() if k != "max_tokens"}, path="/v1/messages/count_tokens")
    assert counted.status == 200
    assert 0.5 < counted.json["input_tokens"] / len(CASES["tool-ls"]["ids"]) < 2


def test_a_wrong_key_or_address_ends_the_start_with_one_sentence(tmp_path, behind):
    def start(url, key="wrong-key-123456"):
        tmp_path.mkdir(exist_ok=True)
        from pensieve import BINARY
        return subprocess.run([BINARY, "--upstream", url, "--port", "0"], capture_output=True, text=True, timeout=60,
                              env={**environment(tmp_path), "PENSIEVE_UPSTREAM_KEY": key})
    wrong = start(behind.url)
    assert wrong.returncode == 1 and "PENSIEVE_UPSTREAM_KEY" in wrong.stderr and "wrong-key" not in wrong.stderr
    nobody = start("http://127.0.0.1:1")
    assert nobody.returncode == 1 and "http://127.0.0.1:1" in nobody.stderr and "refused" in nobody.stderr
    assert start("nonsense").returncode == 2
    for done in (wrong, nobody):
        assert len(done.stderr.strip().splitlines()) == 1


def test_ask_answers_through_the_upstream(tmp_path, behind):
    done = subprocess.run([os.environ["PENSIEVE_BINARY"], "ask", "--upstream", behind.url, "hello"],
                          env={**environment(tmp_path), "PENSIEVE_UPSTREAM_KEY": KEY}, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == CASES["hello"]["text"], done.stderr


class Odd(BaseHTTPRequestHandler):
    """A server that says things no Pensieve would: chunks cut anywhere, calls interleaved, thinking."""
    protocol_version = "HTTP/1.1"
    answer = b""
    seen = []

    def do_GET(self):
        self.reply(b'{"data": [{"id": "odd-model", "max_model_len": 5000}]}', "application/json")

    def do_POST(self):
        self.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for i in range(0, len(self.answer), 3):  # three bytes at a time
            piece = self.answer[i:i + 3]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def reply(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def chunk(finish=None, **delta):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]},
                                  ensure_ascii=False).encode() + b"\r\n\r\n"


def call(index, arguments, **first):
    function = {"arguments": arguments, **({"name": first["name"]} if first else {})}
    return {"index": index, "function": function, **({"id": first["id"], "type": "function"} if first else {})}


def test_thinking_and_interleaved_calls_cut_every_three_bytes(tmp_path):
    Odd.answer = b"".join([
        chunk(role="assistant", content=""), b": keep-alive\n\n", chunk(reasoning_content="Hmm, "),
        chunk(reasoning_content="ünï."), chunk(content="I lo"), chunk(content="ok ✓"),
        chunk(tool_calls=[call(0, '{"pa', id="call_a", name="Read")]),
        chunk(tool_calls=[call(1, '{"command"', id="call_b", name="Bash")]),
        chunk(tool_calls=[call(0, 'th": "a }\\""}')]), chunk(tool_calls=[call(1, ': "ls ✓"}')]),
        chunk(finish="tool_calls"),
        b'data: {"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 20,'
        b' "prompt_tokens_details": {"cached_tokens": 32}}}\n\n', b"data: [DONE]\n\n"])
    other = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        front = Server(tmp_path, "--upstream", "http://127.0.0.1:%d" % other.server_port, model=None)
        with anthropic.Anthropic(base_url=front.url, api_key=TOKEN, max_retries=0) as c:
            with c.messages.stream(model="claude-x", max_tokens=100, tools=anthropic_tools(),
                                   messages=[{"role": "user", "content": "go"}]) as stream:
                got = stream.get_final_message()
            whole = c.messages.create(model="claude-x", max_tokens=100, tools=anthropic_tools(),
                                      messages=[{"role": "user", "content": "go"}])
        for message in (got, whole):
            thinking, text, read, bash = message.content
            assert (thinking.type, thinking.thinking) == ("thinking", "Hmm, ünï.")
            assert text.text == "I look ✓"
            assert (read.id, read.name, read.input) == ("call_a", "Read", {"path": 'a }"'})
            assert (bash.id, bash.name, bash.input) == ("call_b", "Bash", {"command": "ls ✓"})
            assert message.stop_reason == "tool_use"
            assert (message.usage.input_tokens, message.usage.cache_read_input_tokens,
                    message.usage.output_tokens) == (18, 32, 20)
        sent = Odd.seen[-1]
        assert sent["model"] == "odd-model" and sent["max_tokens"] == 100
        assert [t["function"]["name"] for t in sent["tools"]] == ["Bash", "Read", "Write", "Edit"]
        assert front.get("/health").json["context_length"] == 5000
        front.stop()
    finally:
        other.shutdown()


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """llama-cpp-python's server on the embedded model's file, if that package is there: set
    PENSIEVE_LLAMA_CPP_PYTHON to a Python that has `llama-cpp-python[server]`."""
    python = os.environ.get("PENSIEVE_LLAMA_CPP_PYTHON")
    if not python:
        pytest.skip("PENSIEVE_LLAMA_CPP_PYTHON names no Python with llama-cpp-python[server]")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = tmp_path_factory.mktemp("llama") / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [python, "-m", "llama_cpp.server", "--model", str(TINY / "pensieve-tiny-q4_0.gguf"), "--host", "127.0.0.1",
             "--port", str(port), "--n_ctx", "2048", "--api_key", KEY], stdout=out, stderr=subprocess.STDOUT)
    try:
        def ready():
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                return request(port, "GET", "/v1/models", headers={"authorization": "Bearer " + KEY}).status == 200
            except OSError:
                return False
        eventually(ready, 60, "llama-cpp-python serves")
        yield "http://127.0.0.1:%d" % port
    finally:
        process.terminate()
        process.wait(20)


def test_another_implementation_behind(tmp_path, llama_cpp):
    """Its template is the model file's own; texts are compared with what it says itself."""
    front = Server(tmp_path, "--upstream", llama_cpp, "--context", "2048", model=None,
                   env={"PENSIEVE_UPSTREAM_KEY": KEY})
    with openai.OpenAI(base_url=llama_cpp + "/v1", api_key=KEY) as direct:
        said = direct.chat.completions.create(model="m", temperature=0, max_tokens=40,
                                              messages=[{"role": "user", "content": "count to 12"}])
    through = front.post(user("count to 12", max_tokens=40))
    assert through.status == 200, through.body
    assert through.text.strip() == said.choices[0].message.content.strip() != ""
    streamed = Collected(front.stream(user("count to 12", max_tokens=40)))
    assert streamed.ended == "message_stop" and streamed.text == through.text
    stopped = front.post(user("count to 12", max_tokens=40, stop_sequences=[", 5"])).json
    assert stopped["stop_reason"] == "stop_sequence" and stopped["content"][0]["text"].strip() == "1, 2, 3, 4"
    # Its streams end without a word where its plain answers say that a prompt is too long.
    too_long = front.post(user("word " * 3000))
    assert too_long.status == 500 and llama_cpp in too_long.json["error"]["message"], too_long.body
    start = time.monotonic()
    stream = front.stream(user("count to 20", max_tokens=1500))
    stream.until("content_block_delta")
    stream.close()
    assert front.post(user("hello", max_tokens=5)).status == 200
    print("llama-cpp-python: %r, again %.1f s after a client left" % (through.text, time.monotonic() - start))
    front.stop()
