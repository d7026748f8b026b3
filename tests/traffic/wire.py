"""HTTP/1.1 as a client sees it, on bare sockets (asyncio, nothing else): one exchange at a time, ended
by what was received, and every way of leaving in the middle. It repairs nothing: an answer that is
not whole is `lost`."""
import asyncio
import json
import socket
import struct
import time

LIMIT_S = 300
TERMINAL = {"message_stop", "error"}
HTTP_HEAD_BYTES = 256 * 1024


class Lost(Exception):
    """The connection ended, or nothing came any more, before the answer was whole."""


class Answer:
    def __init__(self, status, headers):
        self.status, self.headers = status, headers
        self.body, self.events = b"", []
        self.first_byte_s = self.first_delta_s = None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def is_stream(self):
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def terminal(self):
        """The event that ended a stream of Anthropic's API, or "[DONE]" of OpenAI's; None for neither."""
        ends = [name for name, _ in self.events if name in TERMINAL]
        return ends[0] if len(ends) == 1 and self.events[-1][0] == ends[0] else None

    @property
    def text(self):
        if not self.is_stream:
            return "".join(b.get("text", "") for b in self.json["content"])
        return "".join(data["delta"].get("text", "") for name, data in self.events if name == "content_block_delta")


class Leave:
    """How and when a client leaves: behind `sent` bytes of its request, or behind `events` events (or
    `after_s` seconds) of the answer; by FIN, by RST, or by ending its sending side only."""

    def __init__(self, way, sent=None, events=None, after_s=None):
        self.way, self.sent, self.events, self.after_s = way, sent, events, after_s


class Client:
    """One connection after another to 127.0.0.1:port; kept alive between requests where both sides want."""

    def __init__(self, port, receive_buffer=0):
        self.port, self.receive_buffer = port, receive_buffer
        self.reader = self.writer = None
        self.used_at = 0.0

    async def connect(self):
        s = socket.socket()
        if self.receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.setblocking(False)
        await asyncio.get_running_loop().sock_connect(s, ("127.0.0.1", self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=s, limit=HTTP_HEAD_BYTES)

    def close(self, way="fin"):
        if self.writer is None:
            return
        if way == "rst" and not self.writer.is_closing():
            s = self.writer.get_extra_info("socket")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()
        self.reader = self.writer = None

    async def leave(self, way):
        if way == "half":
            try:
                self.writer.write_eof()
                while await asyncio.wait_for(self.reader.read(65536), 10):
                    pass   # the server ends what nobody reads
            except (OSError, asyncio.TimeoutError):
                pass
            way = "fin"
        self.close(way)

    async def raw(self, data, limit_s=LIMIT_S):
        """Sends bytes as they are on a connection of their own and gives all that comes until the end."""
        self.close()
        await self.connect()
        try:
            self.writer.write(data)
            got = b""
            while True:
                more = await asyncio.wait_for(self.reader.read(65536), limit_s)
                if not more:
                    return got
                got += more
        except (OSError, asyncio.TimeoutError) as e:
            raise Lost("%r behind %d bytes" % (e, len(got)))
        finally:
            self.close()

    async def ask(self, method, path, body=None, headers=None, leave=None, limit_s=LIMIT_S):
        """One request -> Answer, or None when the client left as `leave` says. Raises Lost."""
        data = request_bytes(self.port, method, path, body, headers)
        if self.reader is not None and (self.reader.at_eof() or time.monotonic() - self.used_at > 30):
            self.close()   # both sides may end an idle connection at any time
        try:
            if self.writer is None:
                await self.connect()
            if leave is not None and leave.sent is not None:
                self.writer.write(data[:leave.sent])
                await self.writer.drain()
                await self.leave(leave.way)
                return None
            begin = time.monotonic()
            self.writer.write(data)
            return await asyncio.wait_for(self._answer(method, leave, begin), limit_s)
        except (OSError, EOFError, asyncio.TimeoutError, ValueError) as e:
            self.close("rst")
            raise Lost("%s %s: %r" % (method, path, e))

    async def _answer(self, method, leave, begin):
        if leave is not None and leave.after_s is not None:
            await asyncio.sleep(leave.after_s)
            return await self.leave(leave.way)
        answer = await self._head()
        answer.first_byte_s = time.monotonic() - begin
        if method == "HEAD" or answer.status == 204:
            pass
        elif answer.headers.get("transfer-encoding") == "chunked":
            lines = Lines(answer, begin)
            while True:
                piece = await self._chunk()
                if not piece:
                    break
                answer.body += piece
                if answer.is_stream:
                    lines.feed(piece)
                    if leave is not None and len(answer.events) >= leave.events:
                        return await self.leave(leave.way)
            if answer.is_stream and lines.rest:
                raise ValueError("the stream ended inside an event")
        else:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        if leave is not None:
            return await self.leave(leave.way)
        if answer.headers.get("connection", "") == "close" or answer.terminal == "error":
            if await self.reader.read(1):
                raise ValueError("bytes behind the last answer of a connection")
            self.close()
        self.used_at = time.monotonic()
        return answer

    async def _head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *fields = head[:-4].split("\r\n")
        if not first.startswith("HTTP/1.1 "):
            raise ValueError("no status line: %r" % first[:80])
        headers = {}
        for field in fields:
            name, _, value = field.partition(": ")
            headers[name.lower()] = value
        return Answer(int(first.split(" ")[1]), headers)

    async def _chunk(self):
        size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
        data = await self.reader.readexactly(size + 2)
        if data[-2:] != b"\r\n":
            raise ValueError("a chunk without its end")
        return data[:-2]


class Lines:
    """Server-sent events out of pieces cut anywhere."""

    def __init__(self, answer, begin):
        self.answer, self.begin, self.rest = answer, begin, b""

    def feed(self, piece):
        *whole, self.rest = (self.rest + piece).split(b"\n\n")
        for block in whole:
            if block.startswith(b":"):   # a comment, with which OpenAI's streams show that they live
                continue
            name, data = None, []
            for line in block.decode("utf-8").split("\n"):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                else:
                    raise ValueError("no line of an event: %r" % line[:80])
            if len(data) != 1:
                raise ValueError("%d data lines in an event" % len(data))
            value = data[0] if data[0] == "[DONE]" else json.loads(data[0])
            self.answer.events.append((name, value))
            if name == "content_block_delta" and self.answer.first_delta_s is None:
                self.answer.first_delta_s = time.monotonic() - self.begin


def request_bytes(port, method, path, body=None, headers=None):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: 127.0.0.1:%d" % port]
    lines += ["%s: %s" % pair for pair in (headers or {}).items()]
    if method == "POST":
        lines.append("Content-Length: %d" % len(data))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data
