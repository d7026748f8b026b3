"""What clients ask beside messages: is anybody there, which models, take this telemetry."""
import http.client
import json

import pytest

from pensieve import TOKEN, at_once, request, user


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_a_probe_is_answered_without_a_token_and_without_a_body(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(2):  # the connection stays usable
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == b""
    connection.close()


def test_telemetry_is_taken_and_dropped(server):
    events = {"events": [{"event_type": "x", "event_data": {"n": i}} for i in range(100)]}
    assert server.post(events, path="/api/event_logging/batch").status == 200


def test_a_base_address_that_ends_with_v1_works(server):
    doubled = server.post(user("hello"), path="/v1/v1/messages?beta=true")
    assert doubled.status == 200 and doubled.text == server.post(user("hello")).text


def test_the_model_list_has_the_apis_shape(server):
    """https://docs.anthropic.com/en/api/models-list"""
    answer = server.get("/v1/models?limit=1000").json
    assert set(answer) >= {"data", "first_id", "last_id", "has_more"}
    assert answer["has_more"] is False and answer["data"]
    for model in answer["data"]:
        assert model["type"] == "model" and model["id"] and model["display_name"] and model["created_at"]
    assert answer["first_id"] == answer["data"][0]["id"] and answer["last_id"] == answer["data"][-1]["id"]


def test_two_dozen_counts_at_once_are_answered_like_one(server):
    body = {"model": "claude-x", "messages": [{"role": "user", "content": "word " * 500}],
            "tools": [{"name": "Bash", "description": "Runs a command.",
                       "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]}
    one = server.post(body, path="/v1/messages/count_tokens")
    assert one.status == 200 and one.json["input_tokens"] > 500
    many = at_once([lambda: server.post(body, path="/v1/messages/count_tokens")] * 24)
    assert [m.json for m in many] == [one.json] * 24
    used = server.post({**body, "max_tokens": 1}).json["usage"]
    assert sum(v for k, v in used.items() if k.endswith("input_tokens")) == one.json["input_tokens"]


def test_a_wrong_token_is_not_worth_another_try(server):
    for token in (None, TOKEN + "x"):
        answer = request(server.port, "POST", "/v1/messages", user("hello"), token=token)
        assert answer.status == 401 and answer.headers["x-should-retry"] == "false"
        error = json.loads(answer.body)
        assert error["type"] == "error" and error["error"]["type"] == "authentication_error"
        assert error["request_id"] == answer.headers["request-id"]


def test_any_claude_name_is_answered_by_the_loaded_model(server):
    answers = [server.post({**user("hello"), "model": name}) for name in ("claude-haiku-4-5-20251001", "claude-opus-9")]
    assert [a.json["model"] for a in answers] == ["claude-haiku-4-5-20251001", "claude-opus-9"]
    assert len({a.text for a in answers}) == 1
