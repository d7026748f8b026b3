"""Bare sockets for the tests of what is on the wire: bytes out, bytes in, and a reader of answers that
repairs nothing."""
import json
import socket
import time

from pensieve import TOKEN

LIMIT_S = 120
AUTH = b"x-api-key: " + TOKEN.encode() + b"\r\n"
JSON = b"Content-Type: application/json\r\n"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body   # headers: [(lower-case name, value)]

    def header(self, name):
        values = [v for n, v in self.headers if n == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.json["error"]["message"]


def connect(port, receive_buffer=0):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(LIMIT_S)
    s.connect(("127.0.0.1", port))
    return s


def until_closed(s):
    """All that comes until the other side ends the connection; a reset counts as its end."""
    got = b""
    while True:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            return got
        if not more:
            return got
        got += more


def parse(got, head_only=False):
    """The bytes of a connection as answers; what is no answer fails."""
    answers = []
    while got:
        head, gap, rest = got.partition(b"\r\n\r\n")
        assert gap and head.startswith(b"HTTP/1.1 "), got[:200]
        first, *fields = head.decode("latin-1").split("\r\n")
        headers = [(f.partition(": ")[0].lower(), f.partition(": ")[2]) for f in fields]
        status = int(first.split(" ")[1])
        lengths = [v for n, v in headers if n == "content-length"]
        if status in (100, 204) or head_only:
            body = b""
        elif lengths:
            body, rest = rest[:int(lengths[0])], rest[int(lengths[0]):]
            assert len(body) == int(lengths[0]), "cut short"
        else:
            assert ("transfer-encoding", "chunked") in headers, head
            body, rest = unchunk(rest)
        answers.append(Answer(status, headers, body))
        got = rest
    return answers


def unchunk(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        n = int(size, 16)
        piece, end, data = data[:n], data[n:n + 2], data[n + 2:]
        assert len(piece) == n and end == b"\r\n", "a broken chunk"
        if n == 0:
            return body, data
        body += piece


def exchange(port, data, half_close=False):
    """Sends the bytes on a connection of their own -> the answers, once the server has ended it."""
    with connect(port) as s:
        try:
            s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass   # it may be refused before it is all sent
        if half_close:
            s.shutdown(socket.SHUT_WR)
        return parse(until_closed(s))


def head(port, method="GET", path="/v1/models", fields=b"", version=b"HTTP/1.1", host=None, auth=AUTH):
    host = b"Host: 127.0.0.1:%d\r\n" % port if host is None else host
    target = path if isinstance(path, bytes) else path.encode()
    return method.encode() + b" " + target + b" " + version + b"\r\n" + host + auth + fields + b"\r\n"


def post(port, body, path="/v1/messages", fields=b"", close=True):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = fields + JSON + b"Content-Length: %d\r\n" % len(data) + (b"Connection: close\r\n" if close else b"")
    return head(port, "POST", path, fields) + data


def ask(port, data):
    """The one answer to a request that closes its connection."""
    answers = exchange(port, data)
    assert len(answers) == 1, [a.status for a in answers]
    return answers[0]


class Connection:
    """One connection for many small requests, one after the other; a new one when the server ended it."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def ask(self, data):
        for attempt in range(2):
            if self.socket is None:
                self.socket = connect(self.port)
            try:
                self.socket.sendall(data)
                answer = self._answer()
            except (ConnectionResetError, BrokenPipeError):
                answer = None
            if answer is None:
                self.socket.close()
                self.socket = None
                assert attempt == 0, "no answer to %r" % data[:200]
                continue
            if answer.header("connection") == "close":
                self.socket.close()
                self.socket = None
            return answer
        raise AssertionError("unreachable")

    def _answer(self):
        got = b""
        while b"\r\n\r\n" not in got:
            more = self.socket.recv(65536)
            if not more:
                assert not got, got[:200]
                return None
            got += more
        top, _, rest = got.partition(b"\r\n\r\n")
        length = [f for f in top.lower().split(b"\r\n") if f.startswith(b"content-length: ")]
        n = int(length[0][16:])
        while len(rest) < n:
            more = self.socket.recv(65536)
            assert more, "cut short"
            rest += more
        return parse(top + b"\r\n\r\n" + rest)[0]

    def post(self, body, path="/v1/messages"):
        return self.ask(post(self.port, body, path, close=False))


def is_error(answer, status, kind="invalid_request_error"):
    """An error in the API's shape (https://docs.anthropic.com/en/api/errors)."""
    assert answer.status == status, (answer.status, answer.body[:300])
    error = answer.json
    assert error["type"] == "error" and error["error"]["type"] == kind and error["error"]["message"], error
    assert error["request_id"] == answer.header("request-id")
    return error["error"]["message"]


def alive(server, limit_s=1.0):
    """The same process still answers, and soon."""
    begin = time.monotonic()
    assert server.process.poll() is None, server.log[-3000:]
    assert server.get("/health").status == 200
    assert time.monotonic() - begin < limit_s
