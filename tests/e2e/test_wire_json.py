"""Bodies that are not the JSON they should be: 400 with the place, never a 5xx, and soon. Invalid texts
after the classes of JSONTestSuite (structure, numbers, strings, encodings), each as the whole body, as a
used field and as an ignored one; then depths, numbers, schemas."""
import json
import random
import time

import pytest

from pensieve import user
from raw import Connection, alive, is_error

# RFC 8259 does not allow these.
STRUCTURE = ["", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1:2]", "[1}", "{]", "{\"a\"}",
             "{\"a\":}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\":1,,\"b\":2}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{'a':1}",
             "{1:1}", "{null:1}", "{\"a\":1}}", "[1]]", "[1][2]", "1 2", "{} {}", "[]x", "\"a\" \"b\"", "/*c*/1", "1//c", "#1", "<x/>",
             "nul", "tru", "fals", "True", "NULL", "nulll", "undefined", "NaN", "Infinity", "-Infinity", "-", "*", "\u00a01",
             "[\"a\",\n4\n,1,", "{\"a\":\"b\"", "{\"a\":/*c*/1}", "[1,\n1\n,1", ",", ":", "\\", "[\\u0061]", "@", "\u2060[]", "\x0c[]"]
NUMBERS = ["01", "-01", "+1", "1.", ".1", "-.1", "1e", "1e+", "1E-", "1.e1", "0x10", "1_0", "1,0", "--1", "-+1", "1e1.5", "0e", "1ee1",
           "\uff11", "1a", "-a", "0.3e", "2.e3", "1.0e", "-2.", "1 000", "0b1", "0o7", "1e999", "-1e999", "1.5.2", "00", "-00", "1f"]
STRINGS = ["\"", "\"a", "a\"", "'a'", "\"\\\"", "\"\\x41\"", "\"\\a\"", "\"\\u\"", "\"\\u12\"", "\"\\u00g0\"", "\"\\U0041\"", "\"\t\"", "\"\n\"",
           "\"\r\"", "\"\0\"", "\"\x1f\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\"", "\"\\udc00\\ud800\"",
           "\"\\ud83d\"", "\"\\u0000\"", "\"\\\u00e9\"", "\"\\ \"", "\"a\\", "\u201ca\u201d", "\"\\0\"", "`a`", "\"\\u{41}\""]
ENCODINGS = [b"\"\x80\"", b"\"\xff\"", b"\"\xc0\xaf\"", b"\"\xe0\x80\xaf\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xc3\"",
             b"\"\xe2\x82\"", b"\"\xf0\x9f\x98\"", b"\"\xfe\xff\"", b"\xef\xbb\xbf\"a\"", b"\xff\xfe[\0]\0", b"\0[\0]", b"\"\xf8\x88\x80\x80\x80\"",
             b"\"a\xc3(\"", b"\xe5", b"[\xff]"]
DUPLICATES = ["{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{\"x\":{\"b\":1,\"b\":1}}"]
INVALID = [t.encode("utf-8", "surrogatepass") for t in STRUCTURE + NUMBERS + STRINGS + DUPLICATES] + ENCODINGS
PLACES = [b"%s", b'{"model":"m","max_tokens":1,"messages":%s}', b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"other":%s}']

# Valid however odd (RFC 8259): taken.
ODD = ["\"\\u00e9\\ud83d\\ude00\"", "\"\\/\\b\\f\\n\\r\\t\"", "\"\u007f\u2028\u2029\ufeff\uffff\"", "-0", "1e1", "1E+1", "0.0e-5", "123456789012345678901234567890",
       "[]", "{}", "[[[]]]", "{\"\":1}", "{\"\u00e9\":1}", "\t[\r\n1 ]\n", "null", "true", "[1e-999]", "\"\U0010ffff\"", "{\"a\":{\"a\":1}}", "5e-324"]


@pytest.fixture
def connection(server):
    return Connection(server.port)


def refused_soon(connection, body, path="/v1/messages", limit_s=1.0):
    begin = time.monotonic()
    answer = connection.post(body, path)
    assert time.monotonic() - begin < limit_s, "%g s" % (time.monotonic() - begin)
    return is_error(answer, 400)


def test_more_than_three_hundred_invalid_bodies_are_refused_with_their_place(server, connection, tell):
    rows = [place % value for value in INVALID for place in PLACES if not (value.strip() == b"" and place == b"%s")]
    bodies = rows + [b"", b" " * 1000] + [b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'[:n] for n in range(1, 71)]
    for body in bodies:
        message = refused_soon(connection, body)
        # A text of another kind than an object is valid JSON and no request.
        assert any(c.isdigit() for c in message) or "body" in message or "empty" in message, (body, message)
    assert len(bodies) >= 300
    for path in ("/v1/messages/count_tokens",):
        for body in rows[::7]:
            refused_soon(connection, body, path)
    tell("%d invalid bodies", len(bodies) + len(rows[::7]))
    alive(server)


def test_what_is_odd_and_valid_is_taken(server, connection):
    for value in ODD:
        assert json.loads(value) is not Ellipsis   # another parser says so, too
        body = PLACES[2] % value.encode("utf-8")
        assert connection.post(body, "/v1/messages/count_tokens").status == 200, value


def test_depths(server, connection):
    """128 is the deepest; far beyond it the answer takes no longer and no stack."""
    base = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for field, around in (("metadata", 1), ("other", 1), ("tools", 1)):
        for opening, closing in (("[", "]"), ("{\"a\":", "}")):
            for depth in (129, 3_000, 100_000, 1_000_000):
                middle = "1" if opening != "[" else ""
                nested = opening * (depth - around) + middle + closing * (depth - around)
                body = json.dumps(base)[:-1] + ',"%s":%s}' % (field, nested)
                message = refused_soon(connection, body.encode())
                assert "nest" in message or "deep" in message, (field, depth, message)
    at_limit = json.dumps(base)[:-1] + ',"other":' + "[" * 127 + "]" * 127 + "}"
    assert connection.post(at_limit.encode(), "/v1/messages/count_tokens").status == 200
    alive(server)


BAD_NUMBERS = {"max_tokens": [0, -1, 1.5, "5", None, 2 ** 63, 2 ** 64, 1e308, True, []], "temperature": [-0.1, 2.1, "1", 1e308, [], {}],
               "top_p": [-0.1, 1.1, "1", 1e308, []], "top_k": [-2, 1.5, "1", 2 ** 63, []],
               "thinking": [{"type": "enabled", "budget_tokens": n} for n in (-1, 1.5, "5", 2 ** 63)]}


@pytest.mark.parametrize("field", BAD_NUMBERS)
def test_numbers_out_of_range_are_refused_and_the_field_is_named(server, connection, field):
    for value in BAD_NUMBERS[field]:
        message = refused_soon(connection, json.dumps({**user("x"), field: value}).encode())
        assert field in message, (value, message)


OPENAI_NUMBERS = {"n": [0, -1, 2, 1.5, 2 ** 63], "max_tokens": [-1, 1.5, "5", 2 ** 63, 1e308], "temperature": [-1, 3, "1"], "top_p": [-1, 2],
                  "top_logprobs": [-1, 1000, 1.5]}


@pytest.mark.parametrize("field", OPENAI_NUMBERS)
def test_openais_numbers_out_of_range_are_400(server, connection, field):
    for value in OPENAI_NUMBERS[field]:
        answer = connection.post({"model": "m", "messages": [{"role": "user", "content": "x"}], "logprobs": True, field: value},
                                 "/v1/chat/completions")
        assert answer.status == 400 and answer.json["error"]["message"], (value, answer.body[:200])


def test_random_integers_never_end_in_a_5xx(server, connection):
    rng = random.Random(19)
    edges = [0, 1, -1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1, 2 ** 64, -2 ** 63, -2 ** 63 - 1]
    for _ in range(150):
        body = {**user("x", max_tokens=1)}
        for field in rng.sample(["top_k", "seed", "temperature", "top_p", "min_p", "repetition_penalty"], 2):
            body[field] = rng.choice(edges)
        assert connection.post(body).status in (200, 400), body
