"""What lies on the wire of a streamed chat, byte by byte, and what happens when its reader leaves."""
import json
import socket

from pensieve import TOKEN, eventually, request

HEAD = ("POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer " + TOKEN +
        "\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n")


def send(port, path, body):
    data = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", port), timeout=60)
    s.sendall((HEAD % (path, port, len(data))).encode() + data)
    return s


def read_all_chunks(s):
    """The head, and the decoded body of one chunked response."""
    f = s.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += f.read(1)
    body = b""
    while size := int(f.readline(), 16):
        body += f.read(size)
        assert f.read(2) == b"\r\n"
    assert f.readline() == b"\r\n"
    return head.decode("ascii"), body


def chat(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True, **more}


def test_every_event_is_one_data_line_and_the_last_is_done(server):
    s = send(server.port, "/v1/chat/completions", chat("count to 5", stream_options={"include_usage": True}))
    head, body = read_all_chunks(s)
    s.close()
    assert head.startswith("HTTP/1.1 200 ") and "\r\nContent-Type: text/event-stream; charset=utf-8\r\n" in head
    assert "\r\nrequest-id: req_" in head
    assert b"\r" not in body and b"\0" not in body and body.endswith(b"\n\n")
    events = [e for e in body.decode("utf-8").split("\n\n")[:-1] if not e.startswith(":")]
    assert all(e.startswith("data: ") and "\n" not in e for e in events)
    assert events[-1] == "data: [DONE]" and events.count("data: [DONE]") == 1
    chunks = [json.loads(e[6:]) for e in events[:-1]]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]].count("stop") == 1
    assert sum(not c["choices"] for c in chunks) == 1 and chunks[-1]["usage"]["total_tokens"] > 0
    assert all(c["usage"] is None for c in chunks[:-1])


def test_the_connection_goes_on_behind_a_stream(server):
    s = send(server.port, "/v1/chat/completions", chat("hello"))
    read_all_chunks(s)
    data = json.dumps({"model": "m", "prompt": "1, 2,", "stream": True}).encode()
    s.sendall((HEAD % ("/v1/completions", server.port, len(data))).encode() + data)
    _, body = read_all_chunks(s)
    assert b'"object":"text_completion"' in body and body.endswith(b"data: [DONE]\n\n")
    s.close()


def test_a_client_that_leaves_frees_its_place(server):
    def running():
        return request(server.port, "GET", "/health", token=TOKEN).json["engine"]["running"]
    eventually(lambda: running() == 0, 20, "nothing runs")
    endless = {**chat("count to 20", max_tokens=3000), "repetition_penalty": 100.0}
    s = send(server.port, "/v1/chat/completions", endless)
    assert s.recv(64).startswith(b"HTTP/1.1 200")
    eventually(lambda: running() == 1, 20, "it runs")
    s.close()
    waited = eventually(lambda: running() == 0, 5, "its place is free")
    print("free after %.0f ms" % (1000 * waited))


def test_a_server_that_ends_refuses_in_the_shape_of_the_path(start):
    server = start()
    running = send(server.port, "/v1/chat/completions",
                   {**chat("count to 20", max_tokens=20000), "repetition_penalty": 100.0})
    assert running.recv(64).startswith(b"HTTP/1.1 200")
    kept = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    kept.sendall(b"GET /api/hello HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
    assert kept.recv(4096).startswith(b"HTTP/1.1 200")
    server.signal()
    eventually(lambda: "running answers go on" in server.log, 20, "it was told to end")
    data = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    kept.sendall((HEAD % ("/v1/chat/completions", server.port, len(data))).encode() + data)
    answer = kept.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 503 ")
    error = json.loads(answer.split("\r\n\r\n", 1)[1])
    assert set(error) == {"error"} and error["error"]["type"] == "server_error"
    running.close()
    kept.close()
    assert server.wait() == 0
