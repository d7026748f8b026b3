"""Models from a hub: what arrives, what is kept and what is refused, against an origin on loopback that
breaks every rule it can. Case numbers are those of the reliability rules. Where a case asks for many
points only a few are tried here; all of them:
    PENSIEVE_STORE_POINTS=1000 tests/run -k "killed_at_any" """
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hub_origin import COMMIT
from model_store import (MIB, WEIGHTS, asked, at_hub, check_whole, partial, payload, points, pull, start_pull, stored,
                         synced)
from pensieve import BINARY, eventually, run

NAME = "model"


# ---- an honest hub

def test_pull_fetches_what_a_model_needs_and_nothing_else(tmp_path, hub):
    weights = payload(3 * MIB)
    origin = hub(weights)
    done = pull(tmp_path, origin, "--json")
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    told = json.loads(done.stdout)
    assert told["name"] == NAME and told["revision"] == COMMIT and not told["was_here"]
    assert told["path"] == str(stored(tmp_path))
    assert not origin.files_requested("README.md")
    assert all(r.headers["accept-encoding"] == "identity" for r in origin.requests)
    assert oct(stored(tmp_path).stat().st_mode & 0o777) == "0o700"
    assert oct((stored(tmp_path) / WEIGHTS).stat().st_mode & 0o777) == "0o600"

    before = len(origin.requests)
    again = pull(tmp_path, origin)
    assert again.returncode == 0 and "already" in again.stdout and len(origin.requests) == before


def test_one_gguf_of_many_is_chosen_by_name(tmp_path, hub):
    files = {"a-q4.gguf": payload(5000, 2), "a-q8.gguf": payload(6000, 3), "README.md": b"x"}
    origin = hub(files=files)
    several = pull(tmp_path, origin)
    assert several.returncode == 2 and "a-q4.gguf" in several.stderr and "a-q8.gguf" in several.stderr
    one = pull(tmp_path, origin, model="hub:owner/model@main:a-q8.gguf")
    assert one.returncode == 0, one.stderr
    path = run(tmp_path, "model", "path", "a-q8").stdout.strip()
    with open(path, "rb") as file:
        assert file.read() == files["a-q8.gguf"] and not origin.files_requested("a-q4.gguf")


def test_a_url_is_held_to_the_digest_that_was_given(tmp_path, hub):
    data = payload(2 * MIB, 4)
    origin = hub(files={"m.gguf": data}, linked=False)
    url = origin.url + "/files/m.gguf"
    bad = pull(tmp_path, origin, "--sha256", "0" * 64, model=url)
    assert bad.returncode == 3 and "0" * 64 in bad.stderr and hashlib.sha256(data).hexdigest() in bad.stderr
    assert not stored(tmp_path, "m").exists()
    good = pull(tmp_path, origin, "--sha256", hashlib.sha256(data).hexdigest(), model=url)
    assert good.returncode == 0, good.stderr
    assert (stored(tmp_path, "m") / "m.gguf").read_bytes() == data


def test_the_token_goes_to_the_hub_and_to_nobody_else(tmp_path, hub):
    weights = payload(MIB)
    cdn, front = hub(weights), hub(weights)
    front.redirect_files_to = cdn
    done = pull(tmp_path, front, env={"HF_TOKEN": "hf_secret"})
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    assert all(r.headers.get("authorization") == "Bearer hf_secret" for r in front.requests)
    assert cdn.requests and all("authorization" not in r.headers for r in cdn.requests)
    assert "hf_secret" not in done.stdout + done.stderr


# ---- 34: killed at any point

def lose_what_was_not_synced(home, chance):
    """As after a power failure: of the bytes behind the synced one some are gone and the rest are zeros."""
    part = partial(home, WEIGHTS + ".part")
    safe = synced(home)
    if not part.exists() or part.stat().st_size <= safe:
        return
    left = chance.randrange(part.stat().st_size - safe + 1)
    with open(part, "r+b") as file:
        file.truncate(safe)
        file.truncate(safe + left)


def test_killed_at_any_point_it_goes_on_and_fetches_little_twice(tmp_path, hub, tell):
    """kill -9, every second time after a seeded number of bytes, else a seeded time after the start: in the
    listing, the digest of what is there, a sync, a rename. What the disk had not promised is lost then."""
    weights = payload(160 * MIB, 5)
    chance = random.Random(34)
    wanted = points(10)
    state = {"process": None, "at": 0}

    def script(request, n):
        def on_byte(sent):
            if state["at"] and sent >= state["at"]:
                state["at"] = 0
                state["process"].kill()
        return {"on_byte": on_byte}
    origin = hub(weights, script)
    kills, whole, most_twice, on_disk = 0, 0, 0, 0
    while kills < wanted:
        by_bytes = kills % 2 == 0
        state["at"] = chance.randrange(1, 96 * MIB) if by_bytes else 0
        before = len(asked(origin))
        with open(tmp_path / "log", "ab") as log:
            process = state["process"] = start_pull(tmp_path, origin, output=log)
        timer = threading.Timer(chance.uniform(0, 0.35), process.kill)
        if not by_bytes:
            timer.start()
        process.wait(60)
        timer.cancel()
        offsets = asked(origin)[before:]
        if offsets:
            most_twice = max(most_twice, on_disk - (offsets[0] or 0))
            on_disk = 0
        if process.returncode == 0:
            whole += 1
            check_whole(tmp_path, weights)
            shutil.rmtree(tmp_path / "models")
            continue
        assert process.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
        kills += 1
        # All but in place, or not there at all.
        if stored(tmp_path).exists():
            check_whole(tmp_path, weights)
            shutil.rmtree(tmp_path / "models")
            continue
        part = partial(tmp_path, WEIGHTS + ".part")
        on_disk = max(on_disk, part.stat().st_size if part.exists() else 0)
        lose_what_was_not_synced(tmp_path, chance)
    state["at"] = 0
    assert pull(tmp_path, origin).returncode == 0
    check_whole(tmp_path, weights)
    tell("34: %d kills, %d downloads whole between them, at most %.1f MiB fetched twice", kills, whole, most_twice / MIB)
    assert most_twice <= 64 * MIB


def test_ctrl_c_keeps_what_has_come(tmp_path, hub):
    weights = payload(24 * MIB, 6)
    origin = hub(weights, lambda request, n: {"slow": 0.2} if n == 1 else None)
    process = start_pull(tmp_path, origin)
    eventually(lambda: origin.sent.get(WEIGHTS, 0) > 6 * MIB, 30, "six MiB on their way")
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "kept" in errors and time.monotonic() - begin < 5
    safe = synced(tmp_path)
    assert safe == partial(tmp_path, WEIGHTS + ".part").stat().st_size > 0
    done = pull(tmp_path, origin)
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    assert asked(origin) == [None, safe]


# ---- 35, 36 and the lies of 38: the second answer

FROM_THE_BEGINNING, FROM_THERE = "from the beginning", "from there"


SECOND_ANSWERS = [
    ("honest", lambda r: None, None),
    ("range ignored", lambda r: {"ignore_range": True}, None),
    ("wrong start", lambda r: {"headers": {"Content-Range": "bytes 0-%d/%d" % (8 * MIB - 1, 8 * MIB)}}, FROM_THE_BEGINNING),
    ("start one later", lambda r: {"headers": {"Content-Range": "bytes %d-%d/%d" % (r.offset + 1, 8 * MIB - 1, 8 * MIB)}}, FROM_THE_BEGINNING),
    ("other total", lambda r: {"headers": {"Content-Range": "bytes %d-%d/%d" % (r.offset, 9 * MIB - 1, 9 * MIB)}}, FROM_THE_BEGINNING),
    ("other tag", lambda r: {"headers": {"ETag": '"another"'}}, FROM_THE_BEGINNING),
    ("multipart", lambda r: {"headers": {"Content-Type": "multipart/byteranges; boundary=x"}}, FROM_THE_BEGINNING),
    ("no range said", lambda r: {"drop": ["Content-Range"]}, FROM_THE_BEGINNING),
    ("416 bare", lambda r: {"status": 416, "body": b"", "drop": ["Content-Range"]}, FROM_THE_BEGINNING),
    ("416 shorter", lambda r: {"status": 416, "body": b"", "headers": {"Content-Range": "bytes */%d" % r.offset}}, FROM_THE_BEGINNING),
    ("416 longer", lambda r: {"status": 416, "body": b"", "headers": {"Content-Range": "bytes */%d" % (8 * MIB)}}, FROM_THE_BEGINNING),
    ("gzip", lambda r: {"headers": {"Content-Encoding": "gzip"}}, FROM_THERE),
    ("429", lambda r: {"status": 429, "body": b"", "headers": {"Retry-After": "1"}}, FROM_THERE),
    ("503", lambda r: {"status": 503, "body": b"later", "headers": {"Retry-After": "1"}}, FROM_THERE),
    ("reset at once", lambda r: {"cut": 0}, FROM_THERE),
    ("too short", lambda r: {"cut": 1000}, FROM_THERE),
    ("too long", lambda r: {"promise": 8 * MIB, "body": b"x" * (8 * MIB)}, FROM_THE_BEGINNING),
    ("other bytes", lambda r: {"body": b"x" * (8 * MIB - r.offset)}, FROM_THE_BEGINNING),
    ("other commit", lambda r: {"headers": {"X-Repo-Commit": "f" * 40}}, FROM_THERE),
]


def test_whatever_the_second_answer_claims_the_file_is_right(tmp_path, hub):
    """The first answer is cut in the middle. All cases at the same time: the waits between tries are real."""
    weights = payload(8 * MIB, 7)

    def one(case, second, then):
        def script(request, n):
            return {"cut": 4 * MIB} if n == 1 else second(request) if n == 2 else None
        home = tmp_path / case.replace(" ", "-")
        origin = hub(weights, script)
        done = pull(home, origin)
        assert done.returncode == 0, (case, done.stderr)
        check_whole(home, weights)
        offsets = asked(origin)
        assert offsets[0] is None and 0 < offsets[1] <= 4 * MIB, (case, offsets)
        assert origin.files_requested(WEIGHTS)[1].headers["if-range"]
        if then == FROM_THE_BEGINNING:
            assert offsets[2:] == [None], (case, offsets)
        elif then == FROM_THERE:
            assert len(offsets) == 3 and 0 < offsets[1] <= offsets[2] <= offsets[1] + 1000, (case, offsets)
        else:
            assert len(offsets) == 2, (case, offsets)
    with ThreadPoolExecutor(7) as pool:
        for outcome in [pool.submit(one, *row) for row in SECOND_ANSWERS]:
            outcome.result()


# ---- 36: 416 where all of a file of unknown length is here

def without_an_end(data):
    """The first answer has no length and loses its last chunk; from then on the origin is honest."""
    return lambda request, n: {"chunked": True, "body": data, "cut": len(data)} if n == 1 else None


@pytest.mark.parametrize("sent", ["right", "wrong"])
def test_416_at_the_length_that_is_here_lets_the_digest_decide(sent, tmp_path, hub):
    data = payload(3 * MIB, 16)
    lie = data if sent == "right" else payload(3 * MIB, 17)
    origin = hub(files={"m.gguf": data}, linked=False, script=without_an_end(lie))
    done = pull(tmp_path, origin, "--sha256", hashlib.sha256(data).hexdigest(), model=origin.url + "/f/m.gguf")
    assert asked(origin, "m.gguf") == [None, 3 * MIB], "nothing of it is fetched twice"
    if sent == "right":
        assert done.returncode == 0, done.stderr
        assert (stored(tmp_path, "m") / "m.gguf").read_bytes() == data
    else:
        assert done.returncode == 3 and hashlib.sha256(lie).hexdigest() in done.stderr, done.stderr
        assert not stored(tmp_path, "m").exists() and partial(tmp_path, "m.gguf.rejected", "m").read_bytes() == lie


def test_416_is_understood_by_a_later_process_too(tmp_path, hub):
    data = payload(3 * MIB, 18)
    origin = hub(files={"m.gguf": data}, linked=False,
                 script=lambda request, n: {"chunked": True, "cut": len(data), "stall": 20} if n == 1 else None)
    url = origin.url + "/f/m.gguf"
    process = start_pull(tmp_path, origin, model=url)
    part = partial(tmp_path, "m.gguf.part", "m")
    eventually(lambda: part.exists() and part.stat().st_size == len(data), 30, "all of it is here")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert synced(tmp_path, "m.gguf", "m") == len(data)
    done = pull(tmp_path, origin, model=url)
    assert done.returncode == 0, done.stderr
    assert asked(origin, "m.gguf") == [None, len(data)]
    assert (stored(tmp_path, "m") / "m.gguf").read_bytes() == data


def test_a_tag_in_other_letters_is_no_tag(tmp_path, hub):
    """Bytes beyond ASCII in an ETag: what it says cannot be noted and sent back, and nothing breaks."""
    weights = payload(2 * MIB, 19)
    origin = hub(weights, lambda request, n: {"headers": {"ETag": '"caf\xe9"'}, **({"cut": MIB} if n == 1 else {})})
    done = pull(tmp_path, origin)
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    assert "if-range" not in origin.files_requested(WEIGHTS)[1].headers


# ---- 37

def test_another_file_than_promised_is_set_aside(tmp_path, hub):
    weights = payload(2 * MIB, 8)
    lie = payload(2 * MIB, 9)
    origin = hub(weights, lambda request, n: {"body": lie})
    done = pull(tmp_path, origin)
    assert done.returncode == 3, done.stderr
    for data in (weights, lie):
        assert hashlib.sha256(data).hexdigest() in done.stderr
    assert not stored(tmp_path).exists()
    assert partial(tmp_path, WEIGHTS + ".rejected").read_bytes() == lie
    refused = run(tmp_path, "ask", "--model", NAME, "hello")
    assert refused.returncode == 2 and "no model" in refused.stderr
    origin.script = lambda request, n: None
    assert pull(tmp_path, origin).returncode == 0
    check_whole(tmp_path, weights)


# ---- 38: troubles that do not end

NEVER = {
    "503": lambda r: {"status": 503, "body": b""},
    "429": lambda r: {"status": 429, "body": b""},
    "reset": lambda r: {"cut": 0},
    "short": lambda r: {"promise": 8 * MIB, "body": b"", "cut": 0},
    "gzip": lambda r: {"headers": {"Content-Encoding": "gzip"}},
    "no such name": lambda r: {"status": 302, "body": b"", "headers": {"Location": "http://cdn.invalid/x"}},
}


def test_troubles_that_end_are_waited_for_and_those_that_do_not_are_given_up(tmp_path, hub):
    """A stall; a hub whose name nobody knows; and half of a file, behind which nothing comes any more. All
    at the same time, because the waits between the tries are real."""
    weights = payload(2 * MIB, 20)

    def one(item):
        name, trouble = item
        home = tmp_path / name.replace(" ", "-")
        origin = hub(weights, lambda request, n: {"cut": 5 * MIB // 4} if n == 1 else trouble(request))
        begin = time.monotonic()
        return name, home, origin, pull(home, origin), time.monotonic() - begin

    def stalled():
        origin = hub(weights, lambda request, n: {"cut": MIB, "stall": 30} if n == 1 else None)
        begin = time.monotonic()
        done = pull(tmp_path / "stall", origin, "--stall-timeout", "2")
        return done, asked(origin), time.monotonic() - begin
    with ThreadPoolExecutor(len(NEVER) + 2) as pool:
        one_stall = pool.submit(stalled)
        unknown_hub = pool.submit(pull, tmp_path / "hub", "http://hub.invalid")
        results = list(pool.map(one, NEVER.items()))
        unknown = unknown_hub.result()
        done, offsets, seconds = one_stall.result()
    assert done.returncode == 0 and "sent nothing for 2 s" in done.stderr, done.stderr
    assert 1.5 < seconds < 15 and offsets == [None, MIB]
    check_whole(tmp_path / "stall", weights)
    for name, home, origin, done, seconds in results:
        assert done.returncode == 1 and "6 tries" in done.stderr, (name, done.stderr)
        assert "the same command goes on" in done.stderr and "again in 8 s" in done.stderr, (name, done.stderr)
        assert len(asked(origin)) == 6, (name, asked(origin))
        assert 15 < seconds < 60, (name, seconds)
        kept = synced(home)
        assert 0 < kept == partial(home, WEIGHTS + ".part").stat().st_size <= 5 * MIB // 4
        if name == "no such name":
            assert "http://cdn.invalid" in done.stderr and "name is not known" in done.stderr, done.stderr
        origin.script = lambda request, n: None
        assert pull(home, origin).returncode == 0
        check_whole(home, weights)
        assert asked(origin)[6:] == [kept]
    assert unknown.returncode == 1 and "6 tries" in unknown.stderr, unknown.stderr
    for word in ("http://hub.invalid", "name is not known", "online", "PENSIEVE_HUB_URL", "again in 8 s"):
        assert word in unknown.stderr, unknown.stderr


def test_a_hub_whose_name_is_unknown_today_loses_nothing(tmp_path, hub):
    weights = payload(2 * MIB, 21)
    origin = hub(weights, lambda request, n: {"slow": 2} if n == 1 else None)
    process = start_pull(tmp_path, origin)
    part = partial(tmp_path, WEIGHTS + ".part")
    eventually(lambda: part.exists() and part.stat().st_size > MIB // 2, 30, "half a MiB is here")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    kept = synced(tmp_path)
    offline = start_pull(tmp_path, "http://hub.invalid")
    eventually(lambda: "name is not known" in offline.stderr.readline(), 60, "it says why")
    offline.send_signal(signal.SIGINT)
    assert offline.wait(30) == 130
    assert synced(tmp_path) == kept > 0
    assert pull(tmp_path, origin).returncode == 0
    assert asked(origin) == [None, kept]
    check_whole(tmp_path, weights)


# ---- 39: a full disk

def fill(place, leave):
    """Takes all of the disk's room but `leave` bytes, and says how much was left."""
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    with open(place / "filler", "ab") as filler:
        filler.write(b"\0" * max(0, free - leave))
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


NEED_AND_HAVE = re.compile(r"not enough room in (\S+): need (\d+) MiB \((\d+) bytes\), have (\d+) MiB \((\d+) bytes\)")


def test_a_disk_that_fills_up_at_any_byte_keeps_what_has_come(tmp_path, hub, small_disk, tell):
    """Somebody else takes the room while a model comes, so that the disk is full after k bytes, for many k;
    when there is room again the download goes on."""
    weights = payload(3 * MIB, 13)
    disk = small_disk(8 * MIB)
    chance = random.Random(39)
    wanted, resumed = points(10), 0
    part = partial(disk, WEIGHTS + ".part")
    for i in range(wanted):
        k = chance.randrange(4096, 5 * MIB // 2)

        def script(request, n, k=k):
            def on_byte(sent):
                if not (disk / "filler").exists():
                    eventually(lambda: part.exists() and part.stat().st_size == sent, 30, "it is written")
                    fill(disk, k)
            return {"on_byte": on_byte} if n == 1 else None
        origin = hub(weights, script)
        full = pull(disk, origin)
        assert full.returncode == 1, full.stderr
        told = NEED_AND_HAVE.search(full.stderr)
        assert told and int(told.group(3)) > int(told.group(5)), full.stderr
        assert "the same command goes on" in full.stderr and not stored(disk).exists()
        kept = synced(disk)
        length = part.stat().st_size if part.exists() else 0
        assert length - kept <= 64 * 1024, "at most what the note itself may need is given up"

        # Still full: the check beforehand says so, and nothing is asked of the hub's file.
        before = len(asked(origin))
        again = pull(disk, origin)
        assert again.returncode == 1 and NEED_AND_HAVE.search(again.stderr), again.stderr
        assert len(asked(origin)) == before and synced(disk) == kept

        (disk / "filler").unlink()
        done = pull(disk, origin)
        assert done.returncode == 0, done.stderr
        check_whole(disk, weights)
        assert asked(origin)[before:] == [kept or None]
        resumed += kept > 0
        shutil.rmtree(disk / "models")
    tell("39: the disk was full at %d points, and the download went on from what was there %d times", wanted, resumed)
    assert resumed > wanted / 2


def test_without_room_nothing_is_begun(tmp_path, hub):
    origin = hub(payload(1000))
    listing = json.loads(origin._listing(type("R", (), {"path": "/api/models/owner/model/revision/main"})))
    for entry in listing["siblings"]:
        if entry["rfilename"] == WEIGHTS:
            entry["size"] = 1 << 41
    origin.listing = json.dumps(listing).encode()
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and NEED_AND_HAVE.search(done.stderr), done.stderr
    assert not origin.files_requested(WEIGHTS)


def test_a_limit_on_the_length_of_files_keeps_what_has_come(tmp_path, hub):
    """As a full disk, for users who may not mount one; the system's own words are passed on, because there
    is room."""
    weights = payload(3 * MIB, 13)
    origin = hub(weights)
    chance = random.Random(39)
    for i in range(points(5)):
        home = tmp_path / str(i)
        home.mkdir()
        limit = chance.randrange(70_000, 3 * MIB)
        full = pull(home, origin, wrap=["bash", "-c", 'ulimit -f %d; exec "$@"' % max(1, limit // 1024), "bash"])
        assert full.returncode == 1 and NEED_AND_HAVE.search(full.stderr) and "File too large" in full.stderr, full.stderr
        assert not stored(home).exists()
        kept = synced(home)
        assert limit - 68_000 <= kept <= limit
        done = pull(home, origin)
        assert done.returncode == 0, done.stderr
        check_whole(home, weights)
        shutil.rmtree(home)


# ---- 39, 42: the calls of the system, one by one

def traced_pull(home, origin, *arguments):
    """pull() under strace; skips where that may not be. No leaks are looked for: that needs a trace too."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    allowed = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True)
    if allowed.returncode != 0:
        pytest.skip("no process may be traced here")
    return pull(home, origin, wrap=["strace", "-f", *map(str, arguments)], env={"ASAN_OPTIONS": "detect_leaks=0"})


@pytest.mark.parametrize("when", [1, 2, 3, 4, 5, 6])
def test_a_disk_that_is_full_at_a_rename_costs_nothing(when, tmp_path, hub):
    """Each of the renames: two small files, the weights, and the manifest; of the store's directory into
    place. Whatever was whole stays, and is not fetched again."""
    weights = payload(2 * MIB, 22)
    origin = hub(weights)
    full = traced_pull(tmp_path, origin, "-o", "/dev/null", "-e", "trace=renameat", "-e",
                       "inject=renameat:error=ENOSPC:when=%d" % when)
    if full.returncode == 0:
        assert when > 5, "five renames: three files, the manifest, the model"
        return check_whole(tmp_path, weights)
    assert full.returncode == 1 and NEED_AND_HAVE.search(full.stderr), full.stderr
    assert "No space left" in full.stderr and "the same command goes on" in full.stderr, full.stderr
    assert not stored(tmp_path).exists()
    done = pull(tmp_path, origin)
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    for file in ("config.json", WEIGHTS, "tokenizer.json"):
        assert asked(origin, file) == [None]


def test_bytes_are_on_the_disk_before_a_name_is(tmp_path, hub):
    origin = hub(payload(3 * MIB, 14))
    trace = tmp_path / "trace"
    done = traced_pull(tmp_path, origin, "-y", "-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2", "-o", trace)
    assert done.returncode == 0, done.stderr
    calls = []
    for line in trace.read_text().splitlines():
        found = re.search(r"(write|fsync|renameat2?)\(\d+<([^>]*)>(.*)", line)
        if found and "/models" in found.group(2):
            calls.append((found.group(1).rstrip("2"), found.group(2), found.group(3)))
    part = str(partial(tmp_path, WEIGHTS + ".part"))
    folder = str(partial(tmp_path, "").parent / ".model.partial")
    last_write = max(i for i, c in enumerate(calls) if c[0] == "write" and c[1] == part)
    renamed = next(i for i, c in enumerate(calls)
                   if c[0] == "renameat" and '"%s.part"' % WEIGHTS in c[2] and '"%s"' % WEIGHTS in c[2])
    final = next(i for i, c in enumerate(calls) if c[0] == "renameat" and '".model.partial"' in c[2])
    assert any(c[0] == "fsync" and c[1] == part for c in calls[last_write + 1:renamed])
    assert calls[renamed + 1][0] == "fsync" and calls[renamed + 1][1] == folder
    assert final > renamed and calls[final + 1][:2] == ("fsync", str(tmp_path / "models"))


def test_whichever_sync_fails_nothing_gets_a_name_by_it(tmp_path, hub, tell):
    """EIO from the n-th fsync, for every n of a download: no success is claimed, and the next start makes
    it whole without anybody's help."""
    weights = payload(MIB, 15)
    failures = 0
    for n in range(1, 40):
        home = tmp_path / str(n)
        origin = hub(weights)
        done = traced_pull(home, origin, "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=%d" % n)
        if done.returncode == 0:
            break
        failures += 1
        assert done.returncode == 1 and "durable" in done.stderr, done.stderr
        if stored(home).exists():  # only the directory's own sync was left, behind the last rename
            check_whole(home, weights)
        assert pull(home, origin).returncode == 0
        check_whole(home, weights)
    tell("42: each of %d syncs failed once", failures)
    assert failures >= 8, "two for each file and the manifest, and the directories"


# ---- 40: redirects

def redirecting(location):
    return lambda request, n: {"status": 302, "headers": {"Location": location}, "body": b""}


@pytest.mark.parametrize("location, word", [
    ("/owner/model/resolve/%s/%s" % (COMMIT, WEIGHTS), "ten times"),
    ("ftp://127.0.0.1/x", "neither https nor http"),
    ("file:///etc/passwd", "neither https nor http"),
])
def test_redirects_that_nobody_should_follow(location, word, tmp_path, hub):
    origin = hub(payload(1000), redirecting(location))
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and word in done.stderr, done.stderr
    assert len(origin.files_requested(WEIGHTS)) <= 11


@pytest.mark.parametrize("place", ["127.0.0.1:1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::1]",
                                   "[fe80::1]", "[::ffff:127.0.0.1]", "2130706433", "printer.local"])
def test_a_public_place_cannot_send_us_into_this_network(place, tmp_path, hub):
    """The origin is the proxy here, so that a name of the public network means something."""
    origin = hub(files={"m.gguf": payload(1000)}, linked=False, script=redirecting("http://%s/m.gguf" % place))
    done = pull(tmp_path, origin, model="http://models.example/m.gguf", env={"http_proxy": origin.url})
    assert done.returncode == 1 and "private network" in done.stderr, done.stderr
    assert [r.host for r in origin.requests] == ["models.example"]


def test_the_token_does_not_come_along_to_another_host_nor_back(tmp_path, hub):
    weights = payload(MIB, 24)
    way = {"hub.example": "http://cdn.example", "cdn.example": "http://hub.example:80"}

    def script(request, n):
        return redirecting(way[request.host] + request.path)(request, n) if n <= 2 else None
    origin = hub(weights, script)
    done = pull(tmp_path, "http://hub.example", env={"http_proxy": origin.url, "HF_TOKEN": "hf_secret"})
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    seen = [(r.host.removesuffix(":80"), r.headers.get("authorization")) for r in origin.files_requested(WEIGHTS)]
    assert seen == [("hub.example", "Bearer hf_secret"), ("cdn.example", None), ("hub.example", None)]


# ---- 41: two processes

def test_two_processes_fetch_it_once(tmp_path, hub, tell):
    weights = payload(3 * MIB, 11)
    rounds = points(5)
    for i in range(rounds):
        home = tmp_path / str(i)
        origin = hub(weights, lambda request, n: {"slow": 0.03})
        both = [start_pull(home, origin) for _ in range(2)]
        outputs = [p.communicate(timeout=60) for p in both]
        assert [p.returncode for p in both] == [0, 0], outputs
        check_whole(home, weights)
        assert asked(origin) == [None], "one transfer"
        shutil.rmtree(home)
        origin.close()
    tell("41: two processes, %d of %d times one transfer", rounds, rounds)


def test_when_the_one_that_fetches_is_killed_the_other_goes_on(tmp_path, hub, tell):
    weights = payload(3 * MIB, 12)
    chance = random.Random(41)
    rounds, slowest = points(5), 0
    for i in range(rounds):
        home = tmp_path / str(i)
        origin = hub(weights, lambda request, n: {"slow": 2} if n == 1 else None)
        first = start_pull(home, origin, output=subprocess.DEVNULL)
        eventually(lambda: asked(origin), 30, "the first fetches")
        second = start_pull(home, origin)
        assert "another process" in second.stderr.readline()
        time.sleep(chance.uniform(0, 0.2))
        first.kill()
        begin = time.monotonic()
        first.wait()
        eventually(lambda: len(asked(origin)) == 2, 5, "the other goes on")
        slowest = max(slowest, time.monotonic() - begin)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 0, errors
        check_whole(home, weights)
        shutil.rmtree(home)
        origin.close()
    tell("41: the holder was killed %d times, the other went on within %.2f s", rounds, slowest)


# ---- 43: names and digests

@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "C:\\x.safetensors", "a\0b.safetensors",
                                  "n" * 300 + ".safetensors", "-rf.safetensors", ".x.safetensors", "a b.safetensors"])
def test_a_hub_cannot_name_a_file_outside(name, tmp_path, hub):
    origin = hub(payload(1000))
    listing = json.loads(origin._listing(type("R", (), {"path": "/api/models/owner/model/revision/main"})))
    listing["siblings"].append({"rfilename": name, "size": 5, "blobId": "0" * 40})
    origin.listing = json.dumps(listing).encode()
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and "hub" in done.stderr, done.stderr
    assert not origin.files_requested(WEIGHTS) and not stored(tmp_path).exists()
    assert not (tmp_path / "models" / ".model.partial").exists()


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "../" + "0" * 61])
def test_a_digest_that_is_none_is_refused(digest, tmp_path, hub):
    origin = hub(payload(1000))
    listing = json.loads(origin._listing(type("R", (), {"path": "/api/models/owner/model/revision/main"})))
    for entry in listing["siblings"]:
        if "lfs" in entry:
            entry["lfs"]["sha256"] = digest
    origin.listing = json.dumps(listing).encode()
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and "64 hexadecimal" in done.stderr
    assert not (tmp_path / "models" / ".model.partial").exists()
    other = tmp_path / "other"
    assert pull(other, origin, "--sha256", digest or "x", model="http://127.0.0.1:1/m.gguf").returncode == 2
    assert not (other / "models").exists()


BAD_NAMES = ["..", "../x", "/etc", "C:\\x", ".hidden", "a/b", "-x", "tiny", "default", "n" * 300]


@pytest.mark.parametrize("command", ["remove", "path", "verify"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_none_touch_nothing(command, name, tmp_path):
    (tmp_path / "models").mkdir()
    done = run(tmp_path, "model", command, "--", name)
    assert done.returncode == 2 and name[:20] in done.stderr
    assert os.listdir(tmp_path / "models") == []


@pytest.mark.parametrize("name", BAD_NAMES)
def test_nothing_is_fetched_under_a_name_that_is_none(name, tmp_path, hub):
    origin = hub(payload(1000))
    done = pull(tmp_path, origin, "--name=" + name)
    assert done.returncode == 2 and name[:20] in done.stderr, done.stderr
    assert not origin.requests and not (tmp_path / "models").exists()


def test_a_link_in_the_models_place_is_not_followed(tmp_path, hub):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").write_text("mine")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model").symlink_to(elsewhere)
    (tmp_path / "models" / ".model.partial").symlink_to(elsewhere)
    origin = hub(payload(1000))
    refused = pull(tmp_path, origin)
    assert refused.returncode == 2 and "stays as it is" in refused.stderr and not origin.requests
    assert run(tmp_path, "model", "remove", "model").returncode == 2
    (tmp_path / "models" / "model").unlink()
    assert pull(tmp_path, origin).returncode == 1, "the link in the place of what is on its way"
    assert (elsewhere / "keep").read_text() == "mine" and os.listdir(elsewhere) == ["keep"]


def test_a_link_in_a_files_place_is_not_written_through(tmp_path, hub):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    staging = partial(tmp_path, "")
    staging.mkdir(parents=True)
    for name in (WEIGHTS, WEIGHTS + ".part", WEIGHTS + ".part.json", "manifest.json"):
        (staging / name).symlink_to(victim)
    weights = payload(MIB, 23)
    origin = hub(weights)
    refused = pull(tmp_path, origin)
    assert victim.read_text() == "mine"
    if refused.returncode != 0:
        assert WEIGHTS + ".part" in refused.stderr, refused.stderr
        (staging / (WEIGHTS + ".part")).unlink()
        assert pull(tmp_path, origin).returncode == 0
    check_whole(tmp_path, weights)
    assert victim.read_text() == "mine"
