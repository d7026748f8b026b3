"""The official Node client: the same promises as for the Python client."""
import json
import os
import subprocess
from pathlib import Path

from pensieve import TOKEN, Stream, endless, user


def node(server, scenario, token=TOKEN):
    """Runs one scenario of sdk.cjs -> what it printed."""
    done = subprocess.run(["node", str(Path(__file__).with_name("sdk.cjs")), scenario, server.url, token],
                          capture_output=True, text=True, timeout=300,
                          env={k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_create_gives_a_message_with_text_and_usage(server):
    message = node(server, "create")
    assert "ls src" in message["content"][0]["text"] and message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] > 0 and message["usage"]["output_tokens"] > 0


def test_stream_gives_the_text_that_create_gives(server):
    streamed = node(server, "stream")
    whole = server.post(user("count to 12", max_tokens=64))
    assert streamed["text"] == whole.text == streamed["final"]["content"][0]["text"]
    assert streamed["pieces"] > 1
    assert streamed["final"]["usage"]["output_tokens"] == whole.json["usage"]["output_tokens"]


def test_models_list_names_the_loaded_model(server):
    assert node(server, "models")["ids"] == [m["id"] for m in server.get("/v1/models").json["data"]]


def expect(got, name, status, kind):
    assert (got["name"], got["status"], got["type"]) == (name, status, kind)
    assert got["requestID"].startswith("req_")


def test_a_bad_request_is_a_BadRequestError(server):
    expect(node(server, "bad_request"), "BadRequestError", 400, "invalid_request_error")


def test_a_wrong_token_is_an_AuthenticationError(server):
    expect(node(server, "unauthorised", "wrong"), "AuthenticationError", 401, "authentication_error")


def test_an_unknown_model_id_is_a_NotFoundError(server):
    expect(node(server, "not_found"), "NotFoundError", 404, "not_found_error")


def test_a_body_over_the_limit_is_a_ContentTooLargeError(server):
    expect(node(server, "too_large"), "ContentTooLargeError", 413, "request_too_large")


def test_one_request_too_many_is_an_OverloadedError(server):
    streams = [Stream(server.port, {**endless(i), "stream": True}, TOKEN) for i in range(10)]
    try:
        expect(node(server, "overloaded"), "OverloadedError", 529, "overloaded_error")
    finally:
        for s in streams:
            s.close()
