"""Requests one after the other, cut anywhere, too slow, too large, and answers as they lie on the wire."""
import json
import os
import socket
import threading
import time

import pytest

from pensieve import endless, eventually, user
from raw import AUTH, JSON, Connection, alive, ask, connect, exchange, head, is_error, parse, post, until_closed

CLOSE = b"Connection: close\r\n"
MIB = 1 << 20
CUT_STEP = 1 if os.environ.get("PENSIEVE_EVERY_CUT") else 5
STALL = os.environ.get("PENSIEVE_STALL")   # half a minute of a reader that reads nothing


def own_memory(server):
    return server.status("RssAnon") + server.status("RssShmem")


# ---- methods
@pytest.mark.parametrize("path,allowed", [("/v1/messages", "POST"), ("/v1/messages/count_tokens", "POST"),
                                          ("/v1/chat/completions", "POST"), ("/v1/completions", "POST"),
                                          ("/v1/models", "GET, HEAD"), ("/health", "GET, HEAD"), ("/metrics", "GET, HEAD")])
def test_a_wrong_method_is_told_which_are_right(server, path, allowed):
    wrong = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] + (["GET", "HEAD"] if "POST" in allowed else ["POST"])
    for method in wrong:
        fields = CLOSE + (b"Content-Length: 0\r\n" if method in ("PUT", "POST", "PATCH") else b"")
        with connect(server.port) as s:
            s.sendall(head(server.port, method, path, fields))
            answers = parse(until_closed(s), head_only=method == "HEAD")
        assert [a.status for a in answers] == [405], method
        assert answers[0].header("allow") == allowed and answers[0].header("date"), method


def test_unknown_methods_and_connect(server):
    for method in ("BREW", "get", "PROPFIND", "X" * 16):
        assert ask(server.port, head(server.port, method, "/v1/models", CLOSE)).status == 501, method
    connects = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % (server.port, server.port) + AUTH + CLOSE + b"\r\n"
    assert ask(server.port, connects).status == 405


def test_head_has_the_headers_of_get_and_no_body(server):
    for path in ("/health", "/v1/models"):
        got = ask(server.port, head(server.port, "GET", path, CLOSE))
        with connect(server.port) as s:
            s.sendall(head(server.port, "HEAD", path, CLOSE))
            raw = until_closed(s)
        bare = parse(raw, head_only=True)
        assert raw.endswith(b"\r\n\r\n") and [a.status for a in bare] == [got.status]
        changing = ("request-id", "date", "x-available-memory-gb", "content-length")
        assert [h for h in bare[0].headers if h[0] not in changing] == [h for h in got.headers if h[0] not in changing]


def test_a_preflight_answer_has_no_length_and_no_body(server):
    origin = b"Origin: http://localhost:%d\r\nAccess-Control-Request-Method: POST\r\n" % server.port
    answer = ask(server.port, head(server.port, "OPTIONS", "/v1/messages", origin + CLOSE))
    assert answer.status == 204 and answer.header("content-length") is None and answer.body == b""


# ---- bodies
def test_an_endless_chunked_body_is_refused_at_its_limit_and_takes_no_more_memory_than_that(server):
    before, most = own_memory(server), 0
    with connect(server.port) as s:
        s.sendall(head(server.port, "POST", "/v1/messages", JSON + b"Transfer-Encoding: chunked\r\n"))
        for _ in range(32 * MIB // 65536):
            s.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            most = max(most, own_memory(server) - before)
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(1)
        s.settimeout(30)
        s.sendall(b"1\r\nx\r\n")
        answers = parse(until_closed(s))
    assert [a.status for a in answers] == [413]
    assert answers[0].json["error"]["type"] == "request_too_large"
    assert most <= 40 * 1024, "%d KiB" % most
    alive(server)


def test_a_body_beyond_the_limit_is_refused_by_its_announcement(server):
    before = own_memory(server)
    for length in (32 * MIB + 1, 999_999_999, 2 ** 40, 2 ** 53):
        for fields in (b"", b"Expect: 100-continue\r\n"):
            with connect(server.port) as s:
                begin = time.monotonic()
                s.sendall(head(server.port, "POST", "/v1/messages", JSON + fields + b"Content-Length: %d\r\n" % length))
                answers = parse(until_closed(s))
            assert [a.status for a in answers] == [413], (length, fields)
            assert answers[0].json["error"]["type"] == "request_too_large"
            assert time.monotonic() - begin < 5
    assert own_memory(server) - before <= 1024


def test_100_continue_comes_only_where_the_body_is_wanted(server):
    body = json.dumps(user("hello", max_tokens=2)).encode()
    with connect(server.port) as s:
        s.sendall(head(server.port, "POST", "/v1/messages", JSON + CLOSE + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
        assert s.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert [a.status for a in parse(until_closed(s))] == [200]
    wrong = head(server.port, "POST", "/v1/messages", JSON + CLOSE + b"Expect: 100-continue\r\nContent-Length: 10\r\n", auth=b"")
    assert ask(server.port, wrong).status == 401


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "x"])
def test_a_packed_body_is_not_unpacked(server, coding):
    import gzip
    bomb = gzip.compress(b" " * (20 * MIB))   # 1:1000
    before = own_memory(server)
    answer = ask(server.port, post(server.port, bomb, fields=b"Content-Encoding: " + coding.encode() + b"\r\n"))
    is_error(answer, 415)
    assert own_memory(server) - before <= 1024


# ---- cut anywhere
def steady(answer):
    """An answer without what differs from one to the next."""
    headers = [h for h in answer.headers if h[0] not in ("request-id", "date", "x-available-memory-gb", "x-pensieve-cache")]
    body = answer.body
    if headers and answer.header("content-type") == "application/json":
        value = json.loads(body)
        for key in ("id", "request_id", "usage", "uptime_s", "memory", "engine", "performance", "alerts"):
            value.pop(key, None)
        body = json.dumps(value).encode()
        headers = [h for h in headers if h[0] != "content-length"]
    return answer.status, headers, body


def test_a_request_cut_at_any_byte_is_answered_the_same(server, tell):
    chunked = head(server.port, "POST", "/v1/messages/count_tokens", JSON + CLOSE + b"Transfer-Encoding: chunked\r\n")
    count = b'{"model":"x","messages":[{"role":"user","content":"hi"}]}'
    requests = [head(server.port, "GET", "/v1/models", CLOSE),
                post(server.port, {"model": "x", "messages": [{"role": "user", "content": "hello"}]}, "/v1/messages/count_tokens"),
                chunked + b"10;a=b\r\n" + count[:16] + b"\r\n%x\r\n" % len(count[16:]) + count[16:] + b"\r\n0\r\nX: y\r\n\r\n",
                post(server.port, b'{"model": [', "/v1/messages"),
                post(server.port, user("hello", max_tokens=1))]
    cuts = 0
    for request in requests:
        whole = steady(ask(server.port, request))
        for at in range(1, len(request), CUT_STEP):
            with connect(server.port) as s:
                s.sendall(request[:at])
                time.sleep(0.0005)
                s.sendall(request[at:])
                answers = parse(until_closed(s))
            assert [steady(a) for a in answers] == [whole], (request[:at], answers[0].status)
            cuts += 1
    tell("%d cuts", cuts)


def test_a_hundred_requests_on_one_connection_are_answered_in_order(server):
    one = user("hello", max_tokens=1)
    kinds = [(200, head(server.port)), (200, post(server.port, one, close=False)), (404, head(server.port, "GET", "/none")),
             (405, head(server.port, "PUT", "/health", b"Content-Length: 0\r\n")), (400, post(server.port, b"{", close=False)),
             (401, head(server.port, auth=b"")), (200, head(server.port, "GET", "/health"))]
    rows = [kinds[i % len(kinds)] for i in range(99)] + [(200, head(server.port, "GET", "/v1/models", CLOSE))]
    answers = exchange(server.port, b"".join(data for _, data in rows))
    assert [a.status for a in answers] == [status for status, _ in rows]


def test_behind_a_framing_error_nothing_is_answered(server):
    good = head(server.port)
    answers = exchange(server.port, good * 3 + b"GET  / HTTP/1.1\r\n\r\n" + good * 3)
    assert [a.status for a in answers] == [200, 200, 200, 400]


# ---- slowness
def trickle(server, data, piece, results, name):
    with connect(server.port) as s:
        begin = time.monotonic()
        s.settimeout(1)
        at = 0
        got = b""
        while time.monotonic() - begin < 25:
            try:
                s.sendall(data[at:at + piece])
                at += piece
                got = s.recv(65536)
                break
            except socket.timeout:
                pass
        results[name] = (time.monotonic() - begin, parse(got + until_closed(s)))


def test_slow_headers_and_slow_bodies_get_408_in_their_time(server):
    """One byte a second from the first byte on; a body of 100 bytes a second; beside each other."""
    results = {}
    body = head(server.port, "POST", "/v1/messages", JSON + b"Content-Length: 100000\r\n")
    jobs = [("headers", head(server.port, fields=b"X: " + b"a" * 1000), 1),
            ("late headers", b"GET / HTTP/1.1\r\n", 200), ("body", body + b" " * 10000, len(body)), ("no body", body, len(body))]
    threads = [threading.Thread(target=trickle, args=(server, data, piece, results, name)) for name, data, piece in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name, _, _ in jobs:
        took, answers = results[name]
        assert [a.status for a in answers] == [408] and answers[0].header("connection") == "close", name
        assert 9.5 <= took <= (12 if "headers" in name else 20), (name, took)
    engine = server.get("/health").json["engine"]
    assert engine["running"] == engine["waiting"] == 0
    alive(server)


@pytest.mark.skipif(not STALL, reason="takes half a minute: PENSIEVE_STALL=1")
def test_a_reader_that_reads_nothing_is_cut_off_after_thirty_seconds_and_holds_nothing(server):
    with connect(server.port, receive_buffer=1024) as s:
        s.sendall(post(server.port, {**endless(1), "max_tokens": 6000, "stream": True}))
        eventually(lambda: server.get("/health").json["engine"]["running"], 10, "it begins")
        begin, stalled_since, last = time.monotonic(), None, -1
        while True:
            health = server.get("/health").json["engine"]
            if health["running"] + health["waiting"] == 0:
                break
            if health["output_tokens"] != last:
                last, stalled_since = health["output_tokens"], time.monotonic()
            assert time.monotonic() - begin < 120
            time.sleep(0.2)
        assert 25 <= time.monotonic() - stalled_since <= 35, time.monotonic() - stalled_since
    alive(server)


# ---- answers
def test_a_stream_as_it_lies_on_the_wire(server):
    with connect(server.port) as s:
        begin = time.monotonic()
        s.sendall(post(server.port, {**user("count to 12", max_tokens=60), "stream": True}))
        first = s.recv(65536)
        took = time.monotonic() - begin
        raw = first + until_closed(s)
    assert took < 1.25, took   # 250 ms, and a busy machine
    answer = parse(raw)[0]
    assert answer.status == 200 and answer.header("content-type").startswith("text/event-stream")
    assert b"\r" not in answer.body and b"\0" not in answer.body
    blocks = answer.body.split(b"\n\n")
    assert blocks.pop() == b""
    events = []
    for block in blocks:
        lines = block.split(b"\n")
        assert len(lines) == 2 and lines[0].startswith(b"event: ") and lines[1].startswith(b"data: "), block
        events.append((lines[0][7:].decode(), json.loads(lines[1][6:])))
    names = [n for n, _ in events if n != "ping"]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"]
    assert names.count("message_stop") == 1 and "error" not in names
    open_index = None
    for name, data in events:
        assert data["type"] == name
        if name == "content_block_start":
            assert open_index is None
            open_index = data["index"]
        if name in ("content_block_delta", "content_block_stop"):
            assert data["index"] == open_index
        if name == "content_block_stop":
            open_index = None
    assert open_index is None


def test_without_a_free_descriptor_clients_are_turned_away_and_afterwards_all_is_well(start):
    """200 clients where 64 descriptors are allowed."""
    import resource
    server = start()
    files = server.open_files()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
    clients = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(200)]
    time.sleep(0.5)
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu():
        with open("/proc/%d/stat" % server.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks
    before = cpu()
    time.sleep(1)
    assert cpu() - before < 0.2, "it spins"
    for c in clients:
        c.close()
    begin = time.monotonic()
    while True:
        try:
            if server.get("/health").status == 200:
                break
        except OSError:
            pass
        assert time.monotonic() - begin < 5
        time.sleep(0.02)
    assert server.post(user("hello", max_tokens=2)).status == 200
    assert server.open_files() <= files
    server.stop()


def test_one_connection_for_many_requests_is_not_worn_out(server):
    connection = Connection(server.port)
    for _ in range(200):
        assert connection.ask(head(server.port, "GET", "/health")).status == 200
