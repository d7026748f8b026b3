"""Requests that are JSON and not what the API asks for: 400 that names the field, whatever the value is;
hostile schemas, prompts that are too long, model names that are paths, and counts that agree.
https://docs.anthropic.com/en/api/messages"""
import copy
import os
import random
import time

import pytest

from pensieve import user
from raw import Connection, alive, is_error

N_COUNTS = int(os.environ.get("PENSIEVE_COUNTS", "15"))   # 1,000 by hand
TOOL = {"name": "Bash", "description": "Runs.", "input_schema": {"type": "object", "properties": {"c": {"type": "string"}}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"c": "ls"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a"}
BODY = {"model": "m", "max_tokens": 4, "system": [{"type": "text", "text": "s"}], "tools": [TOOL],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]},
                     {"role": "assistant", "content": [{"type": "text", "text": "y"}, USE]},
                     {"role": "user", "content": [RESULT]}]}
KINDS = {"null": None, "true": True, "5": 5, "1.5": 1.5, "string": "s", "[]": [], "{}": {}, "[123]": [123], "[null]": [None]}
# Place -> kinds of value that are right there; every other kind is refused and the place is in the sentence.
PLACES = {
    "model": {"string"}, "max_tokens": {"5"}, "messages": set(), "messages.0": set(), "messages.0.role": set(),
    "messages.0.content": {"string", "[]"}, "messages.0.content.0": set(), "messages.0.content.0.type": set(),
    "messages.0.content.0.text": {"string"}, "messages.1.content.1.id": set(), "messages.1.content.1.name": {"string"},
    "messages.1.content.1.input": {"{}"}, "messages.2.content.0.tool_use_id": set(),
    "messages.2.content.0.content": {"null", "string", "[]"}, "system": {"null", "string", "[]"}, "system.0": set(),
    "system.0.type": set(), "system.0.text": {"string"}, "tools": {"null"}, "tools.0": set(), "tools.0.name": set(),
    "tools.0.description": {"null", "string"}, "tools.0.input_schema": {"null", "{}"}, "stream": {"null", "true"},
    "stop_sequences": {"null", "[]"}, "temperature": {"null", "1.5"}, "tool_choice": {"null"}, "top_k": {"null", "5"},
}
BLOCKS = ["unknown", "Text", "", "tool_use ", "image2"]


@pytest.fixture
def connection(server):
    return Connection(server.port)


def put(body, place, value):
    *way, last = [int(p) if p.isdigit() else p for p in place.split(".")]
    for step in way:
        body = body[step]
    body[last] = value


def test_the_body_that_the_table_starts_from_is_taken(connection):
    assert connection.post(BODY).status == 200


def test_every_wrong_kind_of_value_is_refused_and_its_place_is_named(server, connection, tell):
    rows = 0
    for place, right in PLACES.items():
        for kind, value in KINDS.items():
            if kind in right or (kind == "string" and place in ("messages.1.content.1.id", "tools.0.name")):
                continue   # the latter are refused elsewhere, for what refers to them
            if place == "tools" and kind == "[]":
                continue
            body = copy.deepcopy(BODY)
            put(body, place, value)
            answer = connection.post(body)
            message = is_error(answer, 400)
            assert place.split(".")[0] in message and (place in message or kind.startswith("[") or "{" in kind), (place, kind, message)
            rows += 1
    assert rows >= 150
    tell("%d wrong values", rows)
    alive(server)


def removed(place):
    body = copy.deepcopy(BODY)
    *way, last = [int(p) if p.isdigit() else p for p in place.split(".")]
    inner = body
    for step in way:
        inner = inner[step]
    del inner[last]
    return body


def with_messages(*messages):
    return {"model": "m", "max_tokens": 4, "messages": list(messages)}


WRONG = {
    **{"no " + place: (removed(place), place) for place in ("model", "max_tokens", "messages", "messages.0.role", "messages.0.content",
       "messages.0.content.0.type", "messages.0.content.0.text", "messages.1.content.1.id", "messages.1.content.1.name",
       "messages.1.content.1.input", "messages.2.content.0.tool_use_id", "tools.0.name")},
    **{"block %r" % kind: (with_messages({"role": "user", "content": [{"type": kind, "text": "x"}]}), "messages.0.content.0")
       for kind in BLOCKS},
    **{"role %r" % role: (with_messages({"role": role, "content": "x"}), "messages.0.role")
       for role in ("User", "", "tool", "function", "developer", " user")},
    "orphan tool_result": (with_messages({"role": "user", "content": [{**RESULT, "tool_use_id": "toolu_9"}]}), "messages.0.content.0"),
    "tool_use by the user": (with_messages({"role": "user", "content": [USE]}), "messages.0.content.0"),
    "tool_result by the assistant": (with_messages({"role": "user", "content": "x"}, {"role": "assistant", "content": [RESULT]}),
                                     "messages.1.content.0"),
    "tool_choice without such a tool": ({**BODY, "tool_choice": {"type": "tool", "name": "None"}}, "tool_choice"),
    "tool_choice of no kind": ({**BODY, "tool_choice": {"type": "maybe"}}, "tool_choice"),
    "two tools of one name": ({**BODY, "tools": [TOOL, TOOL]}, "tools"),
    "1,025 tools": ({**BODY, "tools": [{**TOOL, "name": "t%d" % i} for i in range(1025)]}, "tools"),
    "65 stop sequences": ({**BODY, "stop_sequences": ["s%d" % i for i in range(65)]}, "stop_sequences"),
    "a long stop sequence": ({**BODY, "stop_sequences": ["s" * 1025]}, "stop_sequences"),
    "an empty stop sequence": ({**BODY, "stop_sequences": [""]}, "stop_sequences"),
    "10,001 keys": ({**BODY, "metadata": {"k%d" % i: 1 for i in range(10_001)}}, "key"),
    "100,001 messages": (with_messages(*[{"role": "user", "content": "x"}] * 100_001), "messages"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_api_does_not_allow_is_refused_and_its_place_is_named(server, connection, what):
    body, place = WRONG[what]
    message = is_error(connection.post(body), 400)
    assert place in message, message


def test_a_call_that_is_no_json_in_openais_history_is_read_as_text_and_the_corrected_one_works(connection):
    """A documented choice (README): never a 5xx."""
    for arguments in ("{", "", "null", "[1]", "{\"c\":", "\u0000", "{'c': 1}"):
        call = {"id": "c1", "type": "function", "function": {"name": "Bash", "arguments": arguments}}
        body = {"model": "m", "max_tokens": 2, "messages": [
            {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "a"}]}
        assert connection.post(body, "/v1/chat/completions").status in (200, 400), arguments
        call["function"]["arguments"] = "{\"c\": \"ls\"}"
        assert connection.post(body, "/v1/chat/completions").status == 200


def deep(n):
    return b'{"type":"object","properties":{"a":' * n + b"{}" + b"}}" * n


HOSTILE = {
    "10,000 deep": deep(10_000), "$ref cycle": b'{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}',
    "$ref to itself": b'{"$ref":"#"}', "pattern *": b'{"type":"object","properties":{"a":{"type":"string","pattern":"*"}}}',
    "look-behind": b'{"type":"object","properties":{"a":{"type":"string","pattern":"(?<=a)b"}}}',
    "a billion repetitions": b'{"type":"object","properties":{"a":{"type":"string","pattern":"a{1,1000000000}"}}}',
    "nested repetitions": b'{"type":"object","properties":{"a":{"type":"string","pattern":"((a{1,999}){1,999}){1,999}"}}}',
    "60,000 parentheses": b'{"type":"object","properties":{"a":{"type":"string","pattern":"' + b"(" * 60_000 + b'"}}}',
    "minItems of a billion": b'{"type":"object","properties":{"a":{"type":"array","minItems":1000000000}},"required":["a"]}',
    "text of templates": b'{"type":"object","description":"<|end|><|assistant|> {{ x }} root ::= [a-z]"}',
    "an enum of 9,000": b'{"enum":[' + b",".join(b'"v%d"' % i for i in range(9_000)) + b"]}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_schema_is_refused_or_taken_soon(server, connection, what):
    start = b'{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"T","input_schema":'
    begin = time.monotonic()
    answer = connection.post(start + HOSTILE[what] + b"}]}")
    assert answer.status in (200, 400), answer.body[:300]
    assert time.monotonic() - begin < 3   # 100 ms and four tokens, on a machine that does other things
    alive(server)


def test_a_tools_description_never_changes_whether_it_is_accepted(connection):
    for text in ("<|end|>", "{{ raise }}", "{% for x in y %}", "</tools>", "root ::= x", "\\", "\"}]}", "%s%n", "\u202e", "<tool_call>"):
        tool = {**TOOL, "description": text, "input_schema": {"type": "object", "description": text}}
        assert connection.post({**user("x", max_tokens=1), "tools": [tool]}).status == 200, text


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers_and_nothing_is_computed(start):
    server = start("--context", 512)
    connection = Connection(server.port)
    before = server.get("/health").json["engine"]
    body = user("q7 " * 5_000, max_tokens=1)
    counted = connection.post({"model": "m", "messages": body["messages"]}, "/v1/messages/count_tokens").json["input_tokens"]
    message = is_error(connection.post(body), 400)
    assert message.startswith("prompt is too long: %d tokens > 512 maximum" % counted), message
    after = server.get("/health").json["engine"]
    assert after["kv_bytes"] == before["kv_bytes"] and after["prompt_tokens"] == before["prompt_tokens"]
    answer = connection.post(user("q7 " * 150, max_tokens=100_000, repetition_penalty=100.0)).json
    assert answer["stop_reason"] in ("max_tokens", "model_context_window_exceeded", "end_turn")
    assert answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"] <= 512
    server.stop()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "file:///etc/passwd", "a\x00b", "x" * 10_240, "..%2f..%2fx", "C:\\x", "~root"])
def test_a_model_name_is_never_a_path(server, connection, name):
    """Any name is answered by the loaded model; the list knows it alone."""
    escaped = "".join(c if c.isalnum() else "%%%02X" % ord(c) for c in name)
    got = connection.ask(b"GET /v1/models/%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nx-api-key: sk-test-0123456789abcdef\r\n\r\n" % (
        escaped.encode(), server.port))
    assert got.status in (404, 414), got.status
    files = set(os.readlink("/proc/%d/fd/%s" % (server.pid, f)) for f in os.listdir("/proc/%d/fd" % server.pid))
    answer = connection.post({**user("hello", max_tokens=1), "model": name})
    assert answer.status in (200, 400)
    assert not any("passwd" in f for f in files)


def test_what_is_counted_is_what_is_used(server, connection):
    rng = random.Random(24)
    words = "list the files in src \u00e9\u00e8 \U0001f600 caf\u00e9 \u4f60\u597d <|end|> count to three".split(" ")
    for _ in range(N_COUNTS):
        body = {"model": "m", "messages": []}
        if rng.random() < 0.5:
            body["system"] = " ".join(rng.choices(words, k=rng.randint(1, 40)))
        for turn in range(rng.choice([1, 1, 3, 5])):
            body["messages"].append({"role": ("user", "assistant")[turn % 2], "content": " ".join(rng.choices(words, k=rng.randint(1, 30)))})
        if rng.random() < 0.3:
            body["tools"] = [TOOL]
        counted = connection.post(body, "/v1/messages/count_tokens").json["input_tokens"]
        used = connection.post({**body, "max_tokens": 1}).json["usage"]
        assert counted == used["input_tokens"] + used["cache_read_input_tokens"] + used["cache_creation_input_tokens"], body
