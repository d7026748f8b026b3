"""Tool calls and schemas through the whole server: what is forced is called, what is sampled parses and
fits, whatever the model says. Random weights at temperature 1 say anything; the judge is jsonschema."""
import json
import os
import subprocess
import sys

import jsonschema
import pytest

from pensieve import ROOT, TINY, Collected, Server, at_once, request, user

sys.path.insert(0, str(ROOT / "tests" / "grammar"))
import schemas  # noqa: E402
from validate import objectors  # noqa: E402

N_SCHEMAS = int(os.environ.get("PENSIEVE_SCHEMAS", "400"))  # 2,000 by hand: half a minute on two cores
CLIENTS = 4
BASH = {"name": "Bash", "description": "Runs a command.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}
COUNT = {"name": "Count", "input_schema": {"type": "object", "properties": {
    "n": {"type": "integer", "minimum": 3, "maximum": 9}, "unit": {"enum": ["a", "b"]}}, "required": ["n"]}}


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A server on a model of random weights with the embedded model's vocabulary."""
    home = tmp_path_factory.mktemp("noise")
    model = home / "noise.gguf"
    shape = ["--preset", "tiny", "--type", "q8_0", "--layers", "1", "--hidden", "64", "--ffn", "64", "--heads", "2",
             "--kv-heads", "2", "--vocab-from", str(TINY / "pensieve-tiny-q4_0.gguf")]
    subprocess.run([sys.executable, str(ROOT / "tools" / "make_synthetic_gguf.py"), str(model), *shape], check=True,
                   stdout=subprocess.DEVNULL)
    s = Server(home / "home", "--context", 8192, model=model)
    yield s
    s.stop()


def calls(message):
    return [b for b in message["content"] if b["type"] == "tool_use"]


def object_of(schema):
    """A tool's input is an object: the schema becomes its one member."""
    inner = dict(schema)
    root = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
    if "$defs" in inner:
        root["$defs"] = inner.pop("$defs")
    return root


def test_inputs_of_forced_tools_fit_random_schemas(noise):
    def client(number):
        bad = []
        for i in range(number, N_SCHEMAS, CLIENTS):
            schema = object_of(schemas.Random(i).schema())
            tools = [BASH, {"name": "t", "input_schema": schema}]
            answer = noise.post(user("go", max_tokens=300, temperature=1, seed=i, tools=tools,
                                     tool_choice={"type": "tool", "name": "t"}))
            if answer.status != 200:
                bad.append((i, answer.status, answer.body[:200]))
                continue
            found = calls(answer.json)
            if len(answer.json["content"]) != 1 or [c["name"] for c in found] != ["t"]:
                bad.append((i, "content", answer.json["content"]))
                continue
            if problems := objectors(schema, found[0]["input"]):
                bad.append((i, problems[0], json.dumps(schema), json.dumps(found[0]["input"])[:500]))
        return bad

    bad = sum(at_once([lambda n=n: client(n) for n in range(CLIENTS)]), [])
    assert not bad, "%d of %d, the first: %r" % (len(bad), N_SCHEMAS, bad[0])
    print("%d random schemas, every input parses and fits" % N_SCHEMAS)


@pytest.mark.parametrize("name", sorted(schemas.real_world()))
def test_inputs_fit_schemas_like_those_of_real_tools(noise, name):
    schema = schemas.real_world()[name]
    for seed in range(3):
        message = noise.post(user("go", max_tokens=400, temperature=1, seed=seed,
                                  tools=[{"name": "t", "input_schema": schema}],
                                  tool_choice={"type": "tool", "name": "t"})).json
        assert [c["name"] for c in calls(message)] == ["t"]
        jsonschema.Draft202012Validator(schema).validate(calls(message)[0]["input"])


def test_any_calls_one_of_the_tools_and_none_calls_none(noise):
    names = set()
    for seed in range(20):
        message = noise.post(user("go", max_tokens=200, temperature=1, seed=seed, tools=[BASH, COUNT],
                                  tool_choice={"type": "any"})).json
        assert calls(message) == message["content"] and calls(message)
        for call in calls(message):
            names.add(call["name"])
            tool = {"Bash": BASH, "Count": COUNT}[call["name"]]
            jsonschema.validate(call["input"], tool["input_schema"])
    assert names == {"Bash", "Count"}
    none = noise.post(user("go", max_tokens=50, temperature=1, seed=1, tools=[BASH], tool_choice={"type": "none"})).json
    assert not calls(none)


def test_one_call_at_most_without_parallel_tool_use(noise):
    for seed in range(10):
        choice = {"type": "any", "disable_parallel_tool_use": True}
        message = noise.post(user("go", max_tokens=300, temperature=1, seed=seed, tools=[COUNT], tool_choice=choice)).json
        assert len(calls(message)) == 1


def test_a_json_answer_fits_its_schema_and_is_complete(noise):
    for seed in range(20):
        schema = schemas.Random(seed).schema()
        message = noise.post(user("go", max_tokens=300, temperature=1, seed=seed,
                                  output_config={"format": {"type": "json_schema", "schema": schema}})).json
        text = "".join(b["text"] for b in message["content"])
        assert not objectors(schema, json.loads(text)), (seed, text)


def test_a_streamed_input_is_the_whole_one_in_pieces(noise):
    body = user("go", max_tokens=300, temperature=1, seed=4, tools=[BASH], tool_choice={"type": "tool", "name": "Bash"})
    whole = noise.post(body).json
    pieces = []
    for name, data in noise.stream(body):
        if name == "content_block_delta":
            assert data["delta"]["type"] == "input_json_delta"
            pieces.append(data["delta"]["partial_json"])
    assert len(pieces) > 3, "the input comes as it is sampled"
    assert json.loads("".join(pieces)) == calls(whole)[0]["input"]
    assert Collected(noise.stream(body)).stop_reason == whole["stop_reason"]


def test_an_answer_bent_to_fit_max_tokens_says_max_tokens(noise):
    """A random string seldom ends by itself within so few tokens; where it does, it says tool_use."""
    reasons = []
    for seed in range(12):
        message = noise.post(user("go", max_tokens=100, temperature=1, seed=seed, tools=[BASH],
                                  tool_choice={"type": "tool", "name": "Bash"})).json
        assert isinstance(calls(message)[0]["input"]["command"], str)
        assert message["usage"]["output_tokens"] <= 100
        reasons.append(message["stop_reason"])
    assert set(reasons) <= {"max_tokens", "tool_use"} and reasons.count("max_tokens") >= 6, reasons


def test_hostile_schemas_end_in_an_answer_or_a_400(noise):
    deep = {"type": "object"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}}
    cases = [{"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
             {"allOf": [{"$ref": "#"}]}, {"properties": {"x": {"type": "string", "pattern": "*"}}},
             {"properties": {"x": {"type": "string", "pattern": "(?<=a)b"}}},
             {"properties": {"x": {"type": "string", "pattern": "a{1,1000000000}"}}},
             {"properties": {"x": {"type": "string", "pattern": "(" * 60_000}}},
             {"enum": list(range(10_000))}, {"type": "object", "required": ["a"], "properties": {"a": False}},
             {"type": "nonsense"}, {"properties": {"x": {"minLength": 2**40}}}, deep]
    for schema in cases:
        answer = noise.post(user("go", max_tokens=100, temperature=1, seed=1,
                                 tools=[{"name": "t", "input_schema": schema}], tool_choice={"type": "any"}))
        assert answer.status in (200, 400), (schema, answer.body[:300])
        if answer.status == 200:
            assert calls(answer.json)
        assert request(noise.port, "GET", "/health").status == 200


def test_a_choice_without_its_tool_is_a_400_that_names_it(noise):
    answer = noise.post(user("go", max_tokens=9, tools=[BASH], tool_choice={"type": "tool", "name": "Nope"}))
    assert answer.status == 400
    assert "Nope" in answer.json["error"]["message"] and "tool_choice" in answer.json["error"]["message"]


def test_count_tokens_is_what_a_request_with_tools_reports(noise):
    body = user("go", max_tokens=5, tools=[BASH, COUNT], system="Be brief.")
    count = noise.post({k: v for k, v in body.items() if k != "max_tokens"}, path="/v1/messages/count_tokens").json
    usage = noise.post(body).json["usage"]
    assert count["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
