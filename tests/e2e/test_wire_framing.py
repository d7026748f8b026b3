"""Requests that two parsers could read in two ways, and everything else that is no request: refused, the
connection closed, and nothing behind it taken for a request. RFC 9110, RFC 9112, and the published tricks
of request smuggling (CL.TE, TE.CL, TE.TE, chunk sizes, line endings)."""
import pytest

from raw import AUTH, JSON, alive, connect, exchange, head, parse, until_closed

POST = b"POST /v1/messages/count_tokens HTTP/1.1\r\n%(host)s" + AUTH + JSON
GET = b"GET /v1/models HTTP/1.1\r\n%(host)s" + AUTH
FIVE = b"\r\n5\r\nhello\r\n0\r\n\r\n"
MARKER = b"GET /v1/models?marker HTTP/1.1\r\n%(host)s" + AUTH + b"\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

LENGTHS = [b"+5", b"-5", b"-0", b"0x5", b"1_0", b"5.0", b"5e0", b"1 0", b"0005", b"010", b"", b" \t ", b"five", b"5abc",
           b"5;x", b"\"5\"", b"18446744073709551621", b"340282366920938463463374607431768211461", b"\xef\xbc\x95",
           b"\v5", b"5, 6", b"5, 5", b"5,", b",5", b"5\t5", b"5\x0c"]
CODINGS = {400: [b"identity", b"identity, chunked", b"chunked, identity", b"chunked, chunked", b"", b"chunked,", b",chunked",
                 b"chunked;q=1", b"\"chunked\"", b"\vchunked", b"chunked\x0c", b"\xa0chunked", b"\r\n chunked",
                 b"\r\n\tchunked"],
           501: [b"xchunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"x-chunked", b"deflate", b"br"]}
SMUGGLED = (
    [("Content-Length: %r" % v, 400, POST + b"Content-Length: " + v + b"\r\n\r\nhellohello") for v in LENGTHS] +
    [("Transfer-Encoding: %r" % v, status, POST + b"Transfer-Encoding: " + v + b"\r\n" + FIVE)
     for status, values in CODINGS.items() for v in values] +
    [("two lengths: " + name, 400, POST + fields + b"\r\n" + b"5\r\nhello\r\n0\r\n\r\n") for name, fields in {
        "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "CL 0 and TE": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "CL twice, different": b"Content-Length: 5\r\nContent-Length: 6\r\n",
        "CL twice, equal": b"Content-Length: 5\r\nContent-Length: 5\r\n",
        "TE twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "TE twice, one unknown": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "TE behind a folded line": b"X: y\r\n Transfer-Encoding: chunked\r\n",
        "TE with a space before its colon": b"Transfer-Encoding : chunked\r\n",
        "TE with a tab before its colon": b"Transfer-Encoding\t: chunked\r\n",
        "TE with an underscore": b"Transfer_Encoding: chunked\r\n",
        "CL with an underscore": b"Content_Length: 5\r\n",
        "CL with a space before its colon": b"Content-Length : 5\r\n",
        "bare CR hides TE": b"X: a\rTransfer-Encoding: chunked\r\n",
    }.items()] +
    [("HTTP/1.0: " + name, 400, (POST + fields + FIVE).replace(b"HTTP/1.1", b"HTTP/1.0")) for name, fields in {
        "TE": b"Transfer-Encoding: chunked\r\n", "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"}.items()] +
    [("line: " + name, 400, data) for name, data in {
        "bare LF behind the request line": GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n") + b"\r\n",
        "bare LF behind a field": GET + b"X: y\n\r\n", "bare LF as the empty line": GET + b"X: y\r\n\n",
        "bare CR in the request line": GET.replace(b" HTTP", b"\r HTTP") + b"\r\n", "CR CR LF": GET + b"X: y\r\r\n\r\n",
        "two empty lines first": b"\r\n\r\n" + GET + b"\r\n", "bare LF first": b"\n" + GET + b"\r\n",
        "NUL in a value": GET + b"X: a\0b\r\n\r\n", "NUL in a name": GET + b"X\0Y: a\r\n\r\n",
        "NUL in the target": GET.replace(b"/v1/models", b"/v1/mod\0els") + b"\r\n", "DEL in a value": GET + b"X: a\x7fb\r\n\r\n",
        "ESC in a value": GET + b"X: \x1b[2J\r\n\r\n", "non-ASCII name": GET + b"X-\xc3\xa9: a\r\n\r\n",
        "non-ASCII target": GET.replace(b"/v1/models", b"/\xc3\xa9") + b"\r\n",
        "overlong UTF-8 target": GET.replace(b"/v1/models", b"/\xc0\xaf") + b"\r\n", "empty name": GET + b": a\r\n\r\n",
        "name with a space": GET + b"X Y: a\r\n\r\n", "name with a slash": GET + b"X/Y: a\r\n\r\n", "no colon": GET + b"Connection\r\n\r\n",
        "white space before the first field": GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n ") + b"\r\n",
        "two spaces before the target": GET.replace(b"GET ", b"GET  ") + b"\r\n",
        "two spaces before the version": GET.replace(b" HTTP", b"  HTTP") + b"\r\n",
        "space behind the version": GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.1 \r\n") + b"\r\n",
        "space before the method": b" " + GET + b"\r\n", "tabs as separators": b"GET\t/v1/models\tHTTP/1.1\r\n%(host)s\r\n",
        "no version": b"GET /v1/models\r\n%(host)s\r\n", "HTTP/0.9": GET.replace(b"1.1", b"0.9") + b"\r\n",
        "HTTP/1.01": GET.replace(b"1.1", b"1.01") + b"\r\n", "HTTP/2.0": GET.replace(b"1.1", b"2.0") + b"\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "lower-case version": GET.replace(b"HTTP/", b"http/") + b"\r\n",
        "method with a bracket": GET.replace(b"GET", b"G(T") + b"\r\n", "no slash": GET.replace(b"/v1", b"v1") + b"\r\n",
        "fragment": GET.replace(b"models ", b"models#x ") + b"\r\n", "backslash": GET.replace(b"/models", b"\\models") + b"\r\n",
        "asterisk with GET": GET.replace(b"/v1/models", b"*") + b"\r\n",
        "another scheme": GET.replace(b"/v1/models", b"ftp://a/v1") + b"\r\n",
        "userinfo": GET.replace(b"/v1/models", b"http://u@localhost/v1/models") + b"\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, "binary": bytes(range(256)) * 8,
    }.items()])
HOSTS = {"missing": b"", "twice, different": b"%(host)sHost: b\r\n", "twice, equal": b"%(host)s%(host)s", "empty": b"Host:\r\n",
         "userinfo": b"Host: u:p@localhost\r\n", "path": b"Host: localhost/b\r\n", "list": b"Host: localhost, b\r\n",
         "space": b"Host: local host\r\n", "bad port": b"Host: localhost:7x\r\n", "empty port": b"Host: localhost:\r\n",
         "open bracket": b"Host: [::1\r\n"}
CHUNKS = [b"-2\r\nab\r\n0\r\n\r\n", b"+2\r\nab\r\n0\r\n\r\n", b"+0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"1_0\r\nhello\r\n0\r\n\r\n",
          b"\r\nhello\r\n0\r\n\r\n", b"00000000000000005\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
          b"5 \r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n", b";x\r\nhello\r\n0\r\n\r\n",
          b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
          b"5\r\nhello!\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n", b"5;a\nhello\r\n0\r\n\r\n", b"5;a\x01\r\nhello\r\n0\r\n\r\n",
          b"0\n\r\n", b"0\r\n\n", b"0\r\nGET /marker HTTP/1.1\r\n\r\n", b"0\r\nX: \x01\r\n\r\n", b"0\r\nX: y\n\r\n",
          b"0\r\nX: y\r\n z\r\n\r\n", b"10000000000000000\r\nhello\r\n0\r\n\r\n", b"5;" + b"e" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
          b"g\r\n", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n"]


def filled(server, data):
    return data.replace(b"%(host)s", b"Host: 127.0.0.1:%d\r\n" % server.port)


def refuse(server, data, status):
    """One answer with this status, the connection ended, the request behind it never answered."""
    answers = exchange(server.port, filled(server, data + MARKER))
    assert [a.status for a in answers] == [status], (data, [(a.status, a.body[:100]) for a in answers])
    assert answers[0].json["error"]["message"] and answers[0].header("connection") == "close"
    assert answers[0].header("request-id") == answers[0].json["request_id"]


def test_at_least_sixty_smuggling_requests_are_refused_and_nothing_behind_them_is_served(server, tell):
    for name, status, data in SMUGGLED:
        try:
            refuse(server, data, status)
        except AssertionError as e:
            raise AssertionError(name) from e
    assert len(SMUGGLED) >= 60
    tell("%d smuggling requests", len(SMUGGLED))
    alive(server)


def test_broken_chunks_are_refused(server, tell):
    for data in CHUNKS:
        refuse(server, CHUNKED + data, 400)
    refuse(server, CHUNKED + b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413)
    tell("%d chunk grammars", len(CHUNKS) + 1)
    alive(server)


@pytest.mark.parametrize("what", HOSTS)
def test_a_host_that_is_not_one_is_refused(server, what):
    refuse(server, (GET + b"\r\n").replace(b"%(host)s", HOSTS[what]), 400)


def test_http_1_0_needs_a_host_as_well(server):
    refuse(server, b"GET /health HTTP/1.0\r\n\r\n", 400)


# What stands at the limit is served, one byte or field more is not (RELIABILITY: limits).
def test_sizes_at_the_limit_and_over_it(server):
    port = server.port
    line = 8 * 1024 - len(b"GET /health? HTTP/1.1")
    rows = [(200, head(port, path=b"/health?" + b"a" * line)), (414, head(port, path=b"/health?" + b"a" * (line + 1)))]
    fixed = len(b"Host: 127.0.0.1:%d\r\n" % port + AUTH + b"X: \r\nConnection: close\r\n\r\n")   # the empty line counts
    for status, n in ((200, 32 * 1024 - fixed), (431, 32 * 1024 - fixed + 1)):
        rows.append((status, head(port, path="/health", fields=b"X: " + b"b" * n + b"\r\nConnection: close\r\n")))
    for status, n in ((200, 97), (431, 98)):   # Host, the token and Connection are three
        fields = b"".join(b"X%d: 1\r\n" % i for i in range(n)) + b"Connection: close\r\n"
        rows.append((status, head(port, path="/health", fields=fields)))
    rows += [(431, head(port, fields=b"N" * 100_000 + b": x\r\n")), (431, head(port, fields=b"X: " + b"v" * 100_000 + b"\r\n")),
             (414, b"M" * 100_000 + b" / HTTP/1.1\r\n\r\n")]
    for status, data in rows:
        with connect(port) as s:
            try:
                s.sendall(data)
                if status == 200 and b"Connection: close" not in data:
                    s.sendall(head(port, path="/health", fields=b"Connection: close\r\n"))
            except (BrokenPipeError, ConnectionResetError):
                pass
            answers = parse(until_closed(s))
        assert answers and answers[0].status == status, (status, len(data), [a.status for a in answers])
    alive(server)


# Whatever a client writes, it is not read back as a header, and never decoded.
def test_no_value_adds_a_header(server):
    port = server.port
    for target in (b"/v1/models/x%0d%0aX-Evil:%201", b"/v1/models/%00", b"/v1/models/%c0%af", b"/%0d%0a%0d%0aHTTP/1.1%20200%20OK"):
        answers = exchange(port, head(port, path=target, fields=b"Connection: close\r\n"))
        assert [a.status for a in answers] == [404], (target, answers)
        assert not any(n.startswith("x-evil") for n, _ in answers[0].headers)
    echoed = (b"x-claude-code-session-id", b"anthropic-version", b"origin", b"request-id", b"x-request-id")
    for name in echoed:
        for value in (b"a\rb", b"a\nb", b"a\0b", b"a\x1bb"):
            answers = exchange(port, head(port, fields=name + b": " + value + b"\r\nConnection: close\r\n"))
            assert [a.status for a in answers] == [400], (name, value)
