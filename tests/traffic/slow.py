"""Clients that are slow on purpose, each one task: a quarter trickle their headers, a quarter their body,
a quarter read nothing of what they asked for, a quarter keep a connection and say nothing. Whoever is
closed comes again. What ends them, and after how long, is counted."""
import asyncio
import collections
import json
import socket
import time

from pensieve import TOKEN, endless, headers_for
from wire import request_bytes

CADENCE_S = 1.0             # between the pieces of a trickle
RECEIVE_BUFFER = 1024       # or the kernel hides that nobody reads
PIPELINED = 60              # answers of about 15 KB each: more than any buffer between us holds
HOLD_S = 45                 # how long a reader reads nothing; the server's patience is 30 s
ALLOWED = headers_for(TOKEN)


class Ends:
    """How connections of each kind ended, and how long they had lived."""

    def __init__(self):
        self.counts = collections.Counter()   # (kind, what came last: a status, "closed", "reset")
        self.longest_s = collections.defaultdict(float)
        self.open = collections.Counter()
        self.refused_connections = 0

    def end(self, kind, what, lived_s):
        self.counts[kind, what] += 1
        self.longest_s[kind] = max(self.longest_s[kind], lived_s)


class SlowClient:
    def __init__(self, port, kind, ends, stream=None):
        self.port, self.kind, self.ends = port, kind, ends
        self.stream = stream   # number of the stream that this reader stalls; None: it asks for /metrics

    async def live(self, until):
        """One connection after the other until it is time."""
        while time.monotonic() < until:
            try:
                await self.connection(until)
            except OSError:
                self.ends.refused_connections += 1
                await asyncio.sleep(1)

    async def connection(self, until):
        loop = asyncio.get_running_loop()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            s.setblocking(False)
            await loop.sock_connect(s, ("127.0.0.1", self.port))
            begin = time.monotonic()
            self.ends.open[self.kind] += 1
            try:
                what = await getattr(self, self.kind)(s, until)
            except (ConnectionResetError, BrokenPipeError):
                what = "reset"
            finally:
                self.ends.open[self.kind] -= 1
            if what is not None:
                self.ends.end(self.kind, what, time.monotonic() - begin)

    async def received(self, s, wait_s):
        """The status of what the server says within the time, "closed" for nothing but the end, None for
        nothing at all."""
        try:
            got = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(s, 4096), wait_s)
        except asyncio.TimeoutError:
            return None
        return int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/1.1 ") else "closed"

    async def trickle(self, s, data, piece, until):
        """Sends piece by piece; ends with what the server answers to that."""
        loop = asyncio.get_running_loop()
        at = 0
        while time.monotonic() < until:
            await loop.sock_sendall(s, data[at:at + piece])
            at += piece
            said = await self.received(s, CADENCE_S)
            if said is not None:
                return said
        return None

    async def headers(self, s, until):
        head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 4000
        return await self.trickle(s, head, 1, until)

    async def body(self, s, until):
        loop = asyncio.get_running_loop()
        head = request_bytes(self.port, "POST", "/v1/messages", None, {**ALLOWED, "Content-Length": "100000"})
        head = head.replace(b"Content-Length: 0\r\n", b"")
        await loop.sock_sendall(s, head)
        return await self.trickle(s, b" " * 100_000, 100, until)

    async def reader(self, s, until):
        """Asks for much, reads nothing for longer than the server's patience, and then all there is: the
        end of a connection cannot be seen from behind bytes that were not read."""
        loop = asyncio.get_running_loop()
        if self.stream is not None:
            body = {**endless(self.stream), "max_tokens": 6000, "stream": True}
            await loop.sock_sendall(s, request_bytes(self.port, "POST", "/v1/messages", json.dumps(body).encode(), ALLOWED))
        else:
            await loop.sock_sendall(s, request_bytes(self.port, "GET", "/metrics", None, ALLOWED) * PIPELINED)
        if time.monotonic() + HOLD_S > until:
            await asyncio.sleep(max(0, until - time.monotonic()))
            return None
        await asyncio.sleep(HOLD_S)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        try:   # the other side's kernel looks again after up to a minute (RFC 9293, 3.8.6.1)
            while await asyncio.wait_for(loop.sock_recv(s, 65536), 90):
                pass
            return "closed"
        except asyncio.TimeoutError:
            return "still open"

    async def idle(self, s, until):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(s, request_bytes(self.port, "GET", "/health"))
        first = await self.received(s, 60)
        if first != 200:
            return first
        return await self.received(s, max(0.1, until - time.monotonic()))


KINDS = ("headers", "body", "reader", "idle")


def crowd(port, n, ends, streams):
    """n clients, a quarter of each kind; `streams` of the readers stall a stream and so hold a place of
    the engine, the others any answer that is longer than what lies between us."""
    clients = []
    for i in range(n):
        kind = KINDS[i % len(KINDS)]
        clients.append(SlowClient(port, kind, ends, i // len(KINDS) if kind == "reader" and i // len(KINDS) < streams else None))
    return clients
