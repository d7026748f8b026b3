"""The official Python client: answers, streams, models, and its own error classes."""
import anthropic
import httpx2
import pytest

from pensieve import TOKEN, Stream, endless, request

LIMIT_BODY = 32 * 1024 * 1024


@pytest.fixture(scope="module")
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key=TOKEN, max_retries=0, timeout=300) as c:
        yield c


def ask(text, **more):
    return {"model": "a-claude-model", "max_tokens": 64, "messages": [{"role": "user", "content": text}],
            "extra_body": {"temperature": 0}, **more}


def test_create_gives_a_message_with_text_and_usage(client):
    message = client.messages.create(**ask("list the files in src"))
    assert message.role == "assistant" and message.type == "message" and message.id.startswith("msg_")
    assert "ls src" in message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.model == "a-claude-model"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_create_says_when_max_tokens_ended_the_answer(client):
    message = client.messages.create(**ask("count to 12", max_tokens=5))
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 5


def test_create_stops_at_a_stop_sequence(client):
    message = client.messages.create(**ask("count to 12", stop_sequences=[", 5"]))
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == ", 5"
    assert message.content[0].text == "1, 2, 3, 4"


def test_stream_gives_the_text_that_create_gives(client):
    whole = client.messages.create(**ask("count to 12"))
    with client.messages.stream(**ask("count to 12")) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == whole.content[0].text == final.content[0].text
    assert len(pieces) > 1
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_models_list_names_the_loaded_model(client):
    models = list(client.models.list())
    assert len(models) == 1 and models[0].type == "model"
    assert client.models.retrieve(models[0].id).id == models[0].id


def test_count_tokens_is_what_the_answer_reports(client):
    body = ask("what does `du -sh logs` do?")
    counted = client.messages.count_tokens(model=body["model"], messages=body["messages"])
    usage = client.messages.create(**body).usage
    assert counted.input_tokens == (
        usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0))


def test_a_bad_request_is_a_BadRequestError(client):
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(**ask("hello", max_tokens=0))
    assert e.value.status_code == 400 and e.value.type == "invalid_request_error"
    assert "max_tokens" in e.value.message
    assert e.value.request_id


def test_a_prompt_beyond_the_window_is_a_BadRequestError(start):
    small = start("--context", 512)
    with anthropic.Anthropic(base_url=small.url, api_key=TOKEN, max_retries=0) as c:
        with pytest.raises(anthropic.BadRequestError) as e:
            c.messages.create(**ask("word " * 2000))
    assert "prompt is too long" in e.value.message
    small.stop()


def test_a_wrong_token_is_an_AuthenticationError(server):
    with anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as c:
        with pytest.raises(anthropic.AuthenticationError) as e:
            c.messages.create(**ask("hello"))
    assert e.value.status_code == 401 and e.value.type == "authentication_error"


def test_the_token_works_as_a_bearer_token_too(server):
    with anthropic.Anthropic(base_url=server.url, auth_token=TOKEN, max_retries=0) as c:
        assert list(c.models.list())


def test_an_unknown_model_id_is_a_NotFoundError(client):
    with pytest.raises(anthropic.NotFoundError) as e:
        client.models.retrieve("no-such-model")
    assert e.value.status_code == 404 and e.value.type == "not_found_error"


def test_a_body_over_the_limit_is_a_413(client, server):
    with pytest.raises(anthropic.ContentTooLargeError) as e:
        client.messages.create(**ask("a" * (LIMIT_BODY + 1)))
    assert e.value.status_code == 413 and e.value.type == "request_too_large"
    assert request(server.port, "GET", "/health").status == 200


def test_one_request_too_many_is_an_OverloadedError_and_says_when_to_retry(server, client):
    streams = [Stream(server.port, {**endless(i), "stream": True}, TOKEN) for i in range(10)]
    try:
        assert [s.status for s in streams] == [200] * 10
        with pytest.raises(anthropic.OverloadedError) as e:
            client.messages.create(**ask("hello"))
        assert e.value.status_code == 529 and e.value.type == "overloaded_error"
        assert 1 <= int(e.value.response.headers["retry-after"]) <= 10
    finally:
        for s in streams:
            s.close()
    with anthropic.Anthropic(base_url=server.url, api_key=TOKEN, max_retries=5) as patient:
        assert patient.messages.create(**ask("hello")).content[0].text


def test_every_response_carries_a_request_id(server):
    for path in ("/health", "/v1/models", "/v1/no-such-route"):
        answer = httpx2.get(server.url + path, headers={"x-api-key": TOKEN})
        assert answer.headers["request-id"].startswith("req_"), path
