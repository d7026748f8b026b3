"""A model hub on loopback that misbehaves on purpose. It speaks HTTP by hand, so that it can promise
one thing and send another: each request for a file asks a script what to do."""
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from email.utils import formatdate

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEAD = re.compile(rb"\r\n\r\n")


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Request:
    def __init__(self, text):
        lines = text.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        # RFC 9112, 3.2.2: to a proxy the whole URL is said; the origin then stands for every host.
        found = re.match(r"http://([^/]*)(.*)", self.target)
        self.host, target = found.groups() if found else ("", self.target)
        self.path = target.split("?")[0]
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:] if line)}

    @property
    def offset(self):
        found = re.match(r"bytes=(\d+)-$", self.headers.get("range", ""))
        return int(found.group(1)) if found else None


class Hub:
    """Files of one repository, owner/name. `script(request, n)` sees the n-th request for a large file and
    gives None for an honest answer or a dict: status, headers (added), drop (header names), body, cut
    (send so many bytes, then reset), stall (seconds after `cut`), slow (seconds per MiB), on_byte (called
    with the bytes sent so far), promise (as Content-Length), chunked (no length; with `cut` the last chunk
    never comes, and the connection ends in order)."""

    def __init__(self, files, repository="owner/model", large=(".safetensors", ".gguf"), script=None, linked=True):
        self.files, self.repository, self.large = files, repository, large
        self.script, self.linked = script or (lambda request, n: None), linked
        self.requests, self.sent = [], {}
        self.fetches = 0
        self.lock = threading.Lock()
        self.listing = None       # bytes instead of the honest listing
        self.listing_status = 200
        self.redirect_files_to = None  # another Hub: /resolve/ redirects there, as to a CDN
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def close(self):
        """No request is answered behind it. A closed descriptor alone would let the thread go on waiting, on
        the next hub's listener if that gets its number."""
        with contextlib.suppress(OSError):  # closed already
            self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(10)
        self.listener.close()

    def is_large(self, name):
        return name.endswith(self.large)

    def files_requested(self, name):
        with self.lock:
            return [r for r in self.requests if r.path.endswith("/" + name)]

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        buffered = b""
        try:
            with connection:
                while True:
                    while not HEAD.search(buffered):
                        part = connection.recv(65536)
                        if not part:
                            return
                        buffered += part
                    end = HEAD.search(buffered)
                    request, buffered = Request(buffered[:end.start()]), buffered[end.end():]
                    with self.lock:
                        self.requests.append(request)
                    if not self._answer(connection, request):
                        return
        except OSError:
            pass

    def _answer(self, connection, request):
        if request.path.startswith("/api/models/"):
            return self._send(connection, self.listing_status, {"Content-Type": "application/json"},
                              self.listing if self.listing is not None else self._listing(request))
        name = request.path.rsplit("/", 1)[-1]
        if name not in self.files:
            return self._send(connection, 404, {}, b"no such file")
        if self.redirect_files_to and self.is_large(name):
            data = self.files[name]
            return self._send(connection, 302, {
                "Location": self.redirect_files_to.url + "/cdn/" + name, "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(data)), "X-Linked-ETag": '"%s"' % hashlib.sha256(data).hexdigest()}, b"moved")
        return self._file(connection, request, name)

    def _listing(self, request):
        if not request.path.startswith("/api/models/%s/revision/" % self.repository):
            return b"{}"
        siblings = []
        for name, data in self.files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_blob(data)}
            if self.is_large(name):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 135}
            siblings.append(entry)
        return json.dumps({"id": self.repository, "sha": COMMIT, "siblings": siblings}).encode()

    def _file(self, connection, request, name):
        data = self.files[name]
        trick = {}
        if self.is_large(name):
            with self.lock:
                self.fetches += 1
                n = self.fetches
            trick = self.script(request, n) or {}
        etag = '"%s"' % hashlib.sha256(data).hexdigest()[:32]
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "X-Repo-Commit": COMMIT}
        if self.is_large(name) and self.linked:
            headers["X-Linked-ETag"] = '"%s"' % hashlib.sha256(data).hexdigest()
            headers["X-Linked-Size"] = str(len(data))
        status, body, offset = 200, data, request.offset
        if offset is not None and not trick.get("ignore_range"):
            if request.headers.get("if-range", etag) != etag:
                pass
            elif offset >= len(data):
                status, body = 416, b""
                headers["Content-Range"] = "bytes */%d" % len(data)
            else:
                status, body = 206, data[offset:]
                headers["Content-Range"] = "bytes %d-%d/%d" % (offset, len(data) - 1, len(data))
        status = trick.get("status", status)
        body = trick.get("body", body)
        headers.update(trick.get("headers", {}))
        for drop in trick.get("drop", ()):
            headers.pop(drop, None)
        return self._send(connection, status, headers, body, name=name, **{
            k: v for k, v in trick.items() if k in ("cut", "stall", "slow", "on_byte", "promise", "chunked")})

    def _send(self, connection, status, headers, body, name=None, cut=None, stall=0, slow=0, on_byte=None,
              promise=None, chunked=False):
        lines = ["HTTP/1.1 %d X" % status, "Date: " + formatdate(usegmt=True)]
        lines += ["%s: %s" % pair for pair in headers.items()]
        lines.append("Transfer-Encoding: chunked" if chunked else
                     "Content-Length: %d" % (len(body) if promise is None else promise))
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        part = body if cut is None else body[:cut]
        step = 1 << 18
        for at in range(0, len(part), step):
            piece = part[at:at + step]
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if name:
                with self.lock:
                    self.sent[name] = self.sent.get(name, 0) + len(piece)
            if on_byte:
                on_byte(at + len(piece))
            if slow:
                time.sleep(slow * len(piece) / (1 << 20))
        if cut is not None:
            if stall:
                time.sleep(stall)
            if chunked:
                return False  # what was sent arrives
            # A reset, not an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        return promise is None
