"""After 500 mixed requests the process is what it was: anonymous memory, open files, threads."""
import random
import sys

import pytest

from pensieve import Collected, eventually, request, user

if not sys.platform.startswith("linux"):
    pytest.skip("reads /proc", allow_module_level=True)

WORDS = "list the files in src find all python files count to three what does this do hello".split()
ALLOWED_GROWTH_KIB = 4 * 1024  # pages of the allocator; one leaked answer in two would be seen


def one_request(server, rng):
    """Answers plain and streamed, every refusal, and clients that leave."""
    kind = rng.randrange(10)
    text = " ".join(rng.choices(WORDS, k=rng.choice([3, 8, 150])))
    body = user(text, max_tokens=rng.randint(1, 8))
    if kind <= 2:
        assert server.post(body).status == 200
    elif kind <= 4:
        assert Collected(server.stream(body)).ended == "message_stop"
    elif kind == 5:
        left = server.stream(user(text, max_tokens=500, temperature=2.0, seed=kind))
        left.until("message_start")
        left.close()
    elif kind == 6:
        assert server.post(b"{\"model\": \"tiny\", \"messages\": [").status == 400
    elif kind == 7:
        assert request(server.port, "POST", "/v1/messages", body, token="wrong").status == 401
    elif kind == 8:
        assert server.get("/v1/models/no-such-model").status == 404
    else:
        assert server.post({**body, "messages": [{"role": "user", "content": "x" * 200_000}]}).status in (200, 400)


def test_five_hundred_mixed_requests_leave_nothing_behind(start):
    server = start("--context", 2048)
    rng = random.Random(7)
    for _ in range(150):  # caches, arenas and thread pools reach their size
        one_request(server, rng)

    def quiet():
        return server.open_files() <= files
    files, threads = server.open_files(), server.status("Threads")
    before = server.status("RssAnon")
    for _ in range(500):
        one_request(server, rng)
    eventually(quiet, 10, "%d open files, %d before" % (server.open_files(), files))
    assert server.status("Threads") == threads
    after = server.status("RssAnon")
    print("RssAnon %d KiB before, %d KiB after" % (before, after))
    assert after - before <= ALLOWED_GROWTH_KIB
    server.stop()
