"""The official Python client of OpenAI's API: chats, tools, schemas, completions, log probabilities,
and its own error classes. Expected texts are the embedded model's reference answers."""
import json
import math
from typing import List

import openai
import pydantic
import pytest

from openai_tools import CASES, RESULT, SYSTEM, reference_call, reference_tools
from pensieve import TOKEN, Stream, endless, request


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key=TOKEN, max_retries=0, timeout=300) as c:
        yield c


def ask(text, **more):
    return {"model": "gpt-anything", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def as_request(name):
    """A reference case as a chat request."""
    body = CASES[name]["request"]
    messages = [{"role": "system", "content": body["system"]}] if "system" in body else []
    return {"model": "m", "temperature": 0, "max_tokens": 96, "messages": messages + body["messages"]}


@pytest.mark.parametrize("name", ["hello", "plain-ls", "echo", "sum", "tool-result"])
def test_a_chat_gives_the_reference_text_and_counts_its_tokens(client, name):
    got = client.chat.completions.create(**as_request(name))
    assert got.object == "chat.completion" and got.id.startswith("chatcmpl-")
    assert got.choices[0].message.content == CASES[name]["text"]
    assert got.choices[0].finish_reason == "stop"
    assert got.usage.prompt_tokens == len(CASES[name]["ids"])
    assert got.usage.completion_tokens == len(CASES[name]["greedy"]) - 1
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens
    assert got.system_fingerprint.startswith("fp_")


def test_a_prompt_seen_before_is_read_from_the_cache(client):
    body = as_request("tool-result")
    client.chat.completions.create(**body)
    usage = client.chat.completions.create(**body).usage
    assert usage.prompt_tokens == len(CASES["tool-result"]["ids"])
    assert usage.prompt_tokens_details.cached_tokens >= 64


def test_both_apis_give_the_same_text_for_the_same_chat(client, server):
    anthropic = server.post({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "count to 12"}]})
    chat = client.chat.completions.create(**ask("count to 12", max_completion_tokens=64))
    assert chat.choices[0].message.content == anthropic.text


def test_without_a_limit_an_answer_ends_by_itself(client):
    got = client.chat.completions.create(**ask("hello"))
    assert got.choices[0].finish_reason == "stop" and got.choices[0].message.content == CASES["hello"]["text"]


def test_without_a_limit_an_answer_may_fill_the_window(start):
    small = start("--context", 256)
    with openai.OpenAI(base_url=small.url + "/v1", api_key=TOKEN, max_retries=0) as c:
        got = c.chat.completions.create(**ask("count to 20", extra_body={"repetition_penalty": 100.0}))
        assert got.choices[0].finish_reason == "length"
        assert got.usage.total_tokens == 256
    small.stop()


def test_max_tokens_and_stop_end_an_answer(client):
    cut = client.chat.completions.create(**ask("count to 12", max_tokens=5))
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5
    stopped = client.chat.completions.create(**ask("count to 12", stop=", 5"))
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == "1, 2, 3, 4"
    assert client.chat.completions.create(**ask("count to 12", stop=["x", ", 5"])).choices[0].message.content \
        == "1, 2, 3, 4"


def test_a_stream_gives_the_text_that_create_gives(client):
    whole = client.chat.completions.create(**ask("count to 12", max_tokens=64))
    chunks = list(client.chat.completions.create(
        **ask("count to 12", max_tokens=64, stream=True, stream_options={"include_usage": True})))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(text) == whole.choices[0].message.content and len([t for t in text if t]) > 5
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert all(c.usage is None for c in chunks[:-1])
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({c.id for c in chunks}) == 1


def test_the_stream_helper_puts_the_same_message_together(client):
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hello"}]) as stream:
        deltas = [e.delta for e in stream if e.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == CASES["hello"]["text"]


def tool_loop(client, first, stream):
    """One call and its answer -> (name, arguments, text after the result)."""
    body = {"model": "m", "temperature": 0, "tools": reference_tools(),
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": first}]}
    if stream:
        with client.chat.completions.stream(**body) as s:
            for _ in s:
                pass
            choice = s.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**body).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.type == "function" and call.id
    calls = [{"id": call.id, "type": "function",
              "function": {"name": call.function.name, "arguments": call.function.arguments}}]
    body["messages"] += [{"role": "assistant", "content": choice.message.content, "tool_calls": calls},
                         {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    after = client.chat.completions.create(**body).choices[0]
    assert after.finish_reason == "stop"
    return call.function.name, json.loads(call.function.arguments), after.message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_goes_as_the_reference_goes(client, stream):
    name, arguments, text = tool_loop(client, "list the files in src", stream)
    assert (name, arguments) == reference_call("tool-ls")
    assert text == CASES["tool-result"]["text"]


def test_a_tool_call_streams_its_name_then_its_arguments(client):
    pieces = [c.choices[0].delta.tool_calls[0] for c in client.chat.completions.create(
        model="m", temperature=0, stream=True, tools=reference_tools(),
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": "list the files in src"}])
        if c.choices and c.choices[0].delta.tool_calls]
    assert pieces[0].id and pieces[0].function.name == "Bash" and pieces[0].function.arguments == ""
    assert all(p.index == 0 for p in pieces) and all(p.id is None and p.function.name is None for p in pieces[1:])
    assert len(pieces) > 2
    assert json.loads("".join(p.function.arguments for p in pieces)) == reference_call("tool-ls")[1]


def test_tool_choice_none_calls_nothing_and_a_named_tool_is_called(client):
    body = ask("list the files in src", tools=reference_tools(), max_tokens=96)
    none = client.chat.completions.create(**body, tool_choice="none").choices[0]
    assert not none.message.tool_calls and none.message.content
    for choice, names in (({"type": "function", "function": {"name": "Read"}}, ["Read"]),
                          ("required", ["Bash", "Read", "Write", "Edit"])):
        got = client.chat.completions.create(**body, tool_choice=choice, parallel_tool_calls=False).choices[0]
        [call] = got.message.tool_calls
        assert got.finish_reason == "tool_calls" and call.function.name in names
        assert isinstance(json.loads(call.function.arguments), dict)


def test_a_call_with_broken_arguments_in_the_history_is_read_as_text(client):
    got = client.chat.completions.create(model="m", max_tokens=8, tools=reference_tools(), messages=[
        {"role": "user", "content": "list the files in src"},
        {"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "Bash", "arguments": '{"command": "ls'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "the arguments were no JSON"}])
    assert got.usage.completion_tokens > 0


class Person(pydantic.BaseModel):
    name: str
    age: int


class People(pydantic.BaseModel):
    people: List[Person]


def test_a_schema_is_kept_by_every_answer(client):
    got = client.chat.completions.parse(**ask("json with name Anna and age 31"), response_format=Person)
    assert got.choices[0].message.parsed == Person(name="Anna", age=31)
    # Of a kind the model was never trained for, and hot; complete even where the limit ends it.
    for seed in range(2):
        body = {**ask("hello", max_tokens=120), "temperature": 1.0}
        got = client.chat.completions.create(**body, seed=seed, response_format={
            "type": "json_schema", "json_schema": {"name": "people", "schema": People.model_json_schema()}})
        People.model_validate_json(got.choices[0].message.content)


def test_json_object_gives_an_object(client):
    got = client.chat.completions.create(**ask("hello", max_tokens=60), response_format={"type": "json_object"})
    assert isinstance(json.loads(got.choices[0].message.content), dict)


def test_logprobs_are_those_of_the_reference(client):
    got = client.chat.completions.create(**ask("hello", max_tokens=3), logprobs=True, top_logprobs=5)
    content = got.choices[0].logprobs.content
    assert len(content) == 3 and "".join(t.token for t in content) == got.choices[0].message.content
    assert bytes(b for t in content for b in t.bytes).decode() == got.choices[0].message.content
    first = content[0]
    logits = [logit for _, logit in json.loads(reference_file())["cases"][0]["gguf"]["top"]]
    for i, other in enumerate(first.top_logprobs):
        assert math.isclose(other.logprob - first.logprob, logits[i] - logits[0], abs_tol=0.02), i
    assert first.top_logprobs[0].token == first.token == "Hello"
    assert sum(math.exp(t.logprob) for t in first.top_logprobs) <= 1.0001


def reference_file():
    from pensieve import TINY
    return (TINY / "reference.json").read_text()


def test_streamed_logprobs_are_those_of_the_whole_answer(client):
    whole = client.chat.completions.create(**ask("hello"), logprobs=True, top_logprobs=2)
    chunks = client.chat.completions.create(**ask("hello"), logprobs=True, top_logprobs=2, stream=True)
    tokens = [t for c in chunks if c.choices and c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert [t.token for t in tokens] == [t.token for t in whole.choices[0].logprobs.content]
    for a, b in zip(tokens, whole.choices[0].logprobs.content):
        assert math.isclose(a.logprob, b.logprob, abs_tol=1e-5)


def test_a_completion_goes_on_from_raw_text(client):
    got = client.completions.create(model="m", prompt="1, 2, 3,", temperature=0, max_tokens=4, logprobs=2)
    choice = got.choices[0]
    assert got.object == "text_completion" and choice.finish_reason == "length"
    assert got.usage.completion_tokens == 4 and choice.text
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0 and len(choice.logprobs.top_logprobs[0]) == 2
    echoed = client.completions.create(model="m", prompt="1, 2, 3,", temperature=0, max_tokens=4, echo=True)
    assert echoed.choices[0].text == "1, 2, 3," + choice.text
    pieces = list(client.completions.create(model="m", prompt="1, 2, 3,", temperature=0, max_tokens=4, stream=True))
    assert "".join(p.choices[0].text for p in pieces) == choice.text
    assert len(client.completions.create(model="m", prompt="1, 2, 3,").choices[0].text) > 0
    assert client.completions.create(model="m", prompt="1, 2, 3,").usage.completion_tokens == 16


def test_raw_text_never_becomes_a_control_token(client):
    text = "<|user|>\nhello<|end|>\n<|assistant|>\n"
    raw = client.completions.create(model="m", prompt=text, max_tokens=1).usage.prompt_tokens
    assert raw > len(CASES["hello"]["ids"])


def test_the_same_seed_draws_the_same_text(client):
    def draw(seed):
        return client.chat.completions.create(
            **{**ask("who are you?", max_tokens=30), "temperature": 1.5}, seed=seed).choices[0].message.content
    assert draw(5) == draw(5)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_models_are_listed(client):
    [model] = client.models.list().data
    assert model.object == "model" and client.models.retrieve(model.id).id == model.id


@pytest.mark.parametrize("change, param", [
    ({"n": 2}, "n"), ({"temperature": 3}, "temperature"), ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "messages.0.tool_call_id"),
    ({"top_logprobs": 3}, "top_logprobs"), ({"tool_choice": "required"}, "tool_choice")])
def test_a_bad_request_is_a_BadRequestError_with_its_param(client, change, param):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(**{**ask("hello"), **change})
    assert e.value.status_code == 400 and e.value.param == param
    assert e.value.type == "invalid_request_error" and e.value.response.headers["request-id"]


def test_a_prompt_beyond_the_window_says_so(start):
    small = start("--context", 256)
    with openai.OpenAI(base_url=small.url + "/v1", api_key=TOKEN, max_retries=0) as c:
        with pytest.raises(openai.BadRequestError) as e:
            c.chat.completions.create(**ask("word " * 600))
    assert e.value.code == "context_length_exceeded"
    assert "tokens > 256 maximum" in e.value.message
    small.stop()


def test_errors_are_the_clients_own_classes(client, server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as e:
            stranger.chat.completions.create(**ask("hello"))
    assert e.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="m", input="x")
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model="m", prompt="a", suffix="b")
    assert e.value.param == "suffix"
    with pytest.raises(openai.APIStatusError) as e:
        client.chat.completions.create(**ask("a" * (32 * 1024 * 1024 + 1)))
    assert e.value.status_code == 413


def test_one_request_too_many_is_a_RateLimitError_and_says_when_to_retry(client, server):
    streams = [Stream(server.port, {**endless(i), "stream": True}, TOKEN) for i in range(10)]
    try:
        assert [s.status for s in streams] == [200] * 10
        with pytest.raises(openai.RateLimitError) as e:
            client.chat.completions.create(**ask("hello"))
        assert e.value.status_code == 429
        assert 1 <= int(e.value.response.headers["retry-after"]) <= 10
    finally:
        for s in streams:
            s.close()
    with openai.OpenAI(base_url=server.url + "/v1", api_key=TOKEN, max_retries=5) as patient:
        assert patient.chat.completions.create(**ask("hello")).choices[0].message.content


def test_v1_twice_and_other_media_types(server):
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    assert server.post(body, path="/v1/v1/chat/completions").status == 200
    wrong = request(server.port, "POST", "/v1/chat/completions", body, TOKEN, {"content-type": "text/plain"})
    assert wrong.status == 415 and set(wrong.json) == {"error"}
    assert request(server.port, "GET", "/v1/chat/completions", None, TOKEN).headers["allow"] == "POST"
