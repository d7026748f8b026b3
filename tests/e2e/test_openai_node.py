"""The official Node client of OpenAI's API: the same promises as for the Python client."""
import json
import os
import subprocess
from pathlib import Path

from openai_tools import CASES, SYSTEM, reference_call, reference_tools
from pensieve import TOKEN, Stream, endless


def node(server, scenario, token=TOKEN):
    """Runs one scenario of openai.cjs -> what it printed."""
    given = json.dumps({"tools": reference_tools(), "system": SYSTEM})
    done = subprocess.run(["node", str(Path(__file__).with_name("openai.cjs")), scenario, server.url, token, given],
                          capture_output=True, text=True, timeout=300,
                          env={k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_create_and_stream_give_the_reference_text(server):
    got = node(server, "chat")
    assert got["whole"] == got["streamed"] == CASES["hello"]["text"] and got["pieces"] > 3
    assert got["usage"]["completion_tokens"] == len(CASES["hello"]["greedy"]) - 1


def test_a_tool_call_comes_as_the_reference_calls(server):
    got = node(server, "tools")
    assert got["finish_reason"] == "tool_calls"
    assert (got["name"], json.loads(got["arguments"])) == reference_call("tool-ls")


def test_a_schema_is_kept(server):
    assert node(server, "schema") == {"name": "Anna", "age": 31}


def test_a_completion_and_its_logprobs(server):
    got = node(server, "completion")
    assert "".join(got["logprobs"]["tokens"]) == got["text"]


def expect(got, name, status, code):
    assert (got["name"], got["status"], got.get("code")) == (name, status, code)


def test_errors_are_the_clients_own_classes(server):
    expect(node(server, "bad_request"), "BadRequestError", 400, None)
    expect(node(server, "unauthorised", "wrong"), "AuthenticationError", 401, "invalid_api_key")
    expect(node(server, "not_found"), "NotFoundError", 404, None)


def test_one_request_too_many_is_a_RateLimitError(server):
    streams = [Stream(server.port, {**endless(i), "stream": True}, TOKEN) for i in range(10)]
    try:
        expect(node(server, "crowded"), "RateLimitError", 429, "rate_limit_exceeded")
    finally:
        for s in streams:
            s.close()
