"""Several clients at once, clients that leave, and what neither may change: the text."""
import random
import time

import pytest

from pensieve import Collected, at_once, endless, reference_cases, user

pytestmark = pytest.mark.alone

CASES = {c["name"]: c for c in reference_cases()}
# Eight prompts of 5 to 521 tokens; the longer ones span several pages and share a prefix.
EIGHT = ["hello", "plain-find", "sum", "title", "echo", "tool-ls", "tool-result", "tool-error"]
SLOTS = 10
PLACE_FREE_S = 0.25


def said(answer):
    """What must not differ: the answer's blocks (ids aside), its end, its length in tokens."""
    blocks = [{k: v for k, v in b.items() if k != "id"} for b in answer["content"]]
    return blocks, answer["stop_reason"], answer["usage"]["output_tokens"]


def test_eight_clients_streaming_at_once_all_finish(server):
    collected = at_once([lambda n=n: Collected(server.stream(CASES[n]["request"])) for n in EIGHT])
    for name, got in zip(EIGHT, collected):
        assert got.ended == "message_stop", (name, got.error)
        assert got.stop_reason == "end_turn", name
        assert got.usage["output_tokens"] > 0, name


def test_alone_or_with_seven_others_cold_or_cached_the_text_is_the_same(start):
    alone = start()
    cold = {n: said(alone.post(CASES[n]["request"]).json) for n in EIGHT}
    again = {}
    for name in EIGHT:
        answer = alone.post(CASES[name]["request"]).json
        again[name] = said(answer)
        if len(CASES[name]["ids"]) > 64:
            assert answer["usage"]["cache_read_input_tokens"] >= 64, name
    assert again == cold
    alone.stop()

    together = start()
    answers = at_once([lambda n=n: together.post(CASES[n]["request"]).json for n in EIGHT])
    assert {n: said(a) for n, a in zip(EIGHT, answers)} == cold
    together.stop()


def conversations():
    """Histories of one to three turns that share beginnings of every length, as an agent sends them."""
    rng = random.Random(3)
    asks = ["list the files in src", "count to 5", "what is 3 + 4?", "find all python files", "who are you?"]
    told = ["```bash\nls src\n```\nThis lists files.", "1, 2, 3, 4, 5", "3 + 4 = 7", "Done.", "I am a small model."]
    requests = []
    for system in ("You are a helpful assistant.", "You are an agent. " + "Be careful with files. " * 20):
        for _ in range(3):
            messages = []
            for _ in range(3):
                k = rng.randrange(len(asks))
                messages.append({"role": "user", "content": asks[k]})
                requests.append(user("", max_tokens=12, system=system) | {"messages": list(messages)})
                messages.append({"role": "assistant", "content": told[k]})
    return requests


def test_whatever_the_order_and_the_company_a_conversation_goes_on_the_same(start):
    """In order, one by one; and shuffled, four at a time, so that every cache state is another."""
    requests = conversations()
    one_by_one = start()
    answers = [one_by_one.post(r).json for r in requests]
    expected = [said(a) for a in answers]
    cached = sum(a["usage"]["cache_read_input_tokens"] for a in answers)
    assert cached > 0
    one_by_one.stop()

    mixed = start()
    order = list(range(len(requests)))
    random.Random(4).shuffle(order)
    for i in range(0, len(order), 4):
        batch = order[i:i + 4]
        got = at_once([lambda k=k: mixed.post(requests[k]).json for k in batch])
        for k, answer in zip(batch, got):
            assert said(answer) == expected[k], requests[k]
    mixed.stop()


def test_a_new_client_does_not_wait_for_the_others_to_finish(server):
    long = server.stream(endless(1))
    long.until("content_block_delta")
    assert server.post(user("hello")).status == 200
    long.until("content_block_delta")  # and the first one is still going
    long.close()


def test_a_client_that_leaves_frees_its_place_within_250_ms(server):
    """Ten places taken: an eleventh request is refused until one client goes."""
    def refused():
        s = server.stream(user("hello", max_tokens=1))
        status = s.status
        s.close()
        return status == 529
    waits = []
    for attempt in range(5):
        streams = [server.stream(endless(10 * attempt + i)) for i in range(SLOTS)]
        for s in streams:
            assert s.status == 200
            s.until("content_block_delta")
        assert refused()
        streams[attempt].close()
        begin = time.monotonic()
        while refused():
            assert time.monotonic() - begin < 10
        waits.append(time.monotonic() - begin)
        for s in streams:
            s.close()
        time.sleep(0.5)
    print("place free after", " ".join("%.0f ms" % (1000 * w) for w in waits))
    assert sorted(waits)[len(waits) // 2] <= PLACE_FREE_S, waits


@pytest.mark.parametrize("name", ["tool-ls", "count"])
def test_the_streamed_text_is_the_plain_text(server, name):
    body = CASES[name]["request"]
    streamed = Collected(server.stream(body))
    whole = server.post(body)
    assert streamed.text == whole.text
    assert streamed.stop_reason == whole.json["stop_reason"]


def test_every_cut_of_an_answer_is_a_prefix_of_it(server):
    """An answer with characters of two and three bytes, ended by max_tokens at every length."""
    body = CASES["echo"]["request"]
    whole = server.post(body)
    length = whole.json["usage"]["output_tokens"]
    for n in range(1, length):
        part = server.post({**body, "max_tokens": n})
        got = part.text.rstrip("\ufffd")  # a character that was cut in the middle
        assert whole.text.startswith(got), (n, got)
        assert part.json["stop_reason"] == "max_tokens"
