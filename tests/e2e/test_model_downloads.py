"""Models from a hub: `pensieve model …` and what `pensieve` fetches by itself, against an origin on
loopback that breaks every rule it can. Case numbers are those of the reliability rules."""
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hub_origin import COMMIT, Hub
from pensieve import BINARY, TINY, TOKEN, environment, eventually, request, run

MIB = 1 << 20
CONFIG = b'{"model_type": "phi3"}\n'


def payload(n_bytes, seed=1):
    return random.Random(seed).randbytes(n_bytes)


def repository(weights):
    return {"config.json": CONFIG, "tokenizer.json": b"{}\n", "README.md": b"not needed\n",
            "model.safetensors": weights, "original/model.safetensors": b"not needed either"}


@pytest.fixture
def hub(request):
    """hub(weights, script) gives an origin; all of them end with the test."""
    made = []

    def make(weights=b"", script=None, files=None, **options):
        made.append(Hub(files or repository(weights), script=script, **options))
        return made[-1]
    yield make
    for h in made:
        h.close()


def at_hub(home, hub, **more):
    return {**environment(home), "PENSIEVE_HUB_URL": hub.url if isinstance(hub, Hub) else hub, **more}


def pull(home, hub, *args, model="hub:owner/model", timeout=120, env=None, **options):
    return subprocess.run([BINARY, "model", "pull", model, *map(str, args)], env={**at_hub(home, hub), **(env or {})},
                          capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options)


def stored(home, name="model"):
    return Path(home) / "models" / name


def partial(home, file="model.safetensors", name="model"):
    return Path(home) / "models" / (".%s.partial" % name) / file


def check_whole(home, weights, name="model"):
    place = stored(home, name)
    assert (place / "model.safetensors").read_bytes() == weights
    manifest = json.loads((place / "manifest.json").read_text())
    files = {f["name"]: f for f in manifest["files"]}
    assert sorted(files) == ["config.json", "model.safetensors", "tokenizer.json"]
    for file, entry in files.items():
        data = (place / file).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest() and entry["bytes"] == len(data)
    assert sorted(os.listdir(place)) == ["config.json", "manifest.json", "model.safetensors", "tokenizer.json"]
    assert not partial(home, "").exists()
    assert manifest["revision"] == COMMIT


# ---- an honest hub

def test_pull_fetches_what_a_model_needs_and_nothing_else(tmp_path, hub):
    weights = payload(3 * MIB)
    origin = hub(weights)
    done = pull(tmp_path, origin, "--json")
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    told = json.loads(done.stdout)
    assert told["name"] == "model" and told["revision"] == COMMIT and not told["was_here"]
    assert told["path"] == str(stored(tmp_path))
    assert not origin.files_requested("README.md")
    assert all(r.headers["accept-encoding"] == "identity" for r in origin.requests)
    assert oct(stored(tmp_path).stat().st_mode & 0o777) == "0o700"
    assert oct((stored(tmp_path) / "model.safetensors").stat().st_mode & 0o777) == "0o600"

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
    assert Path(path).read_bytes() == files["a-q8.gguf"] and not origin.files_requested("a-q4.gguf")


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

def test_killed_at_any_byte_it_goes_on_and_fetches_little_twice(tmp_path, hub):
    """One download of 160 MiB, killed again and again after a seeded number of bytes; each start goes on
    from what was synced, at most 64 MiB (and what the sockets hold) before."""
    weights = payload(160 * MIB, 5)
    chance = random.Random(34)
    kills, name = 0, "model.safetensors"
    state = {"process": None, "at": 0}

    def script(request, n):
        def on_byte(sent):
            if state["at"] and sent >= state["at"]:
                state["at"] = 0
                state["process"].kill()
        return {"on_byte": on_byte}
    origin = hub(weights, script)
    for round_ in range(40):
        state["at"] = chance.randrange(1, 96 * MIB)
        before = origin.sent.get(name, 0)
        with open(tmp_path / "log", "ab") as log:
            state["process"] = subprocess.Popen([BINARY, "model", "pull", "hub:owner/model"],
                                                env=at_hub(tmp_path, origin), stdout=log, stderr=log)
        state["process"].wait(60)
        assert not stored(tmp_path).exists() or state["process"].returncode == 0
        if state["process"].returncode == 0:
            break
        assert state["process"].returncode == -signal.SIGKILL
        kills += 1
        sidecar = partial(tmp_path, name + ".part.json")
        synced = json.loads(sidecar.read_text())["synced"] if sidecar.exists() else 0
        on_disk = partial(tmp_path, name + ".part").stat().st_size
        assert on_disk - synced <= 65 * MIB, "more than 64 MiB would be fetched twice"
        if sidecar.exists():
            # As after a power failure: nothing behind the synced byte can be trusted.
            with open(partial(tmp_path, name + ".part"), "r+b") as file:
                file.truncate(synced + (on_disk - synced) // 2)
                if on_disk > synced:
                    file.seek(synced)
                    file.write(b"\0" * ((on_disk - synced) // 2))
        assert origin.sent[name] > before
    else:
        state["at"] = 0
        assert pull(tmp_path, origin).returncode == 0
    check_whole(tmp_path, weights)
    assert kills >= 3, kills


def test_ctrl_c_keeps_what_has_come(tmp_path, hub):
    weights = payload(24 * MIB, 6)
    origin = hub(weights, lambda request, n: {"slow": 0.2} if n == 1 else None)
    process = subprocess.Popen([BINARY, "model", "pull", "hub:owner/model"], env=at_hub(tmp_path, origin),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: origin.sent.get("model.safetensors", 0) > 6 * MIB, 30, "six MiB on their way")
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "kept" in errors and time.monotonic() - begin < 5
    synced = json.loads(partial(tmp_path, "model.safetensors.part.json").read_text())["synced"]
    assert synced == partial(tmp_path, "model.safetensors.part").stat().st_size > 0
    done = pull(tmp_path, origin)
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    assert [r.offset for r in origin.files_requested("model.safetensors")
            if r.path.startswith("/owner")] == [None, synced]


# ---- 35 to 38: lies

def interrupted(home, hub, weights, then, at=4 * MIB):
    """Pulls with a first answer that is cut after `at` bytes, and the trick `then` for the second."""
    def script(request, n):
        if n == 1:
            return {"cut": at}
        return then(request) if n == 2 else None
    origin = hub(weights, script)
    return origin, pull(home, origin)


@pytest.mark.parametrize("case, second", [
    ("honest", lambda r: None),
    ("range ignored", lambda r: {"ignore_range": True}),
    ("wrong start", lambda r: {"headers": {"Content-Range": "bytes 0-%d/%d" % (8 * MIB - 1, 8 * MIB)}}),
    ("other total", lambda r: {"headers": {"Content-Range": "bytes %d-%d/%d" % (r.offset, 9 * MIB - 1, 9 * MIB)}}),
    ("other tag", lambda r: {"headers": {"ETag": '"another"'}}),
    ("multipart", lambda r: {"headers": {"Content-Type": "multipart/byteranges; boundary=x"}}),
    ("no range said", lambda r: {"drop": ["Content-Range"]}),
    ("416", lambda r: {"status": 416, "body": b"", "drop": ["Content-Range"]}),
    ("gzip", lambda r: {"headers": {"Content-Encoding": "gzip"}}),
    ("429", lambda r: {"status": 429, "body": b"", "headers": {"Retry-After": "1"}}),
    ("503", lambda r: {"status": 503, "body": b"later", "headers": {"Retry-After": "1"}}),
    ("reset at once", lambda r: {"cut": 0}),
    ("too short", lambda r: {"cut": 1000}),
    ("too long", lambda r: {"promise": 5 * MIB, "body": b"x" * (5 * MIB)}),
    ("other bytes", lambda r: {"body": b"x" * (4 * MIB)}),
    ("other commit", lambda r: {"headers": {"X-Repo-Commit": "f" * 40}}),
], ids=lambda x: x.replace(" ", "-") if isinstance(x, str) else "")
def test_whatever_the_second_answer_claims_the_file_is_right(case, second, tmp_path, hub):
    weights = payload(8 * MIB, 7)
    origin, done = interrupted(tmp_path, hub, weights, second)
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path, weights)
    asked = [r for r in origin.files_requested("model.safetensors") if r.path.startswith("/owner")]
    assert asked[0].offset is None and 0 < asked[1].offset <= 4 * MIB
    assert asked[1].headers["if-range"]
    if case in ("honest", "range ignored"):
        assert len(asked) == 2, [r.offset for r in asked]


def test_another_file_than_promised_is_set_aside(tmp_path, hub):  # 37
    weights = payload(2 * MIB, 8)
    lie = payload(2 * MIB, 9)
    origin = hub(weights, lambda request, n: {"body": lie})
    done = pull(tmp_path, origin)
    assert done.returncode == 3, done.stderr
    for data in (weights, lie):
        assert hashlib.sha256(data).hexdigest() in done.stderr
    assert not stored(tmp_path).exists()
    assert partial(tmp_path, "model.safetensors.rejected").read_bytes() == lie
    refused = run(tmp_path, "ask", "--model", "model", "hello")
    assert refused.returncode == 2 and "no model" in refused.stderr
    origin.script = lambda request, n: None
    assert pull(tmp_path, origin).returncode == 0
    check_whole(tmp_path, weights)


def test_a_server_that_never_delivers_is_given_up(tmp_path, hub):
    origin = hub(payload(MIB), lambda request, n: {"status": 503, "body": b""})
    begin = time.monotonic()
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and "6 tries" in done.stderr, done.stderr
    assert len(origin.files_requested("model.safetensors")) == 6
    assert 10 < time.monotonic() - begin < 40, "the waits grow"


def test_a_stall_is_noticed_and_the_download_goes_on(tmp_path, hub):
    weights = payload(4 * MIB, 10)
    origin = hub(weights, lambda request, n: {"cut": 2 * MIB, "stall": 30} if n == 1 else None)
    begin = time.monotonic()
    done = pull(tmp_path, origin, "--stall-timeout", "2")
    assert done.returncode == 0, done.stderr
    assert 1.5 < time.monotonic() - begin < 15
    check_whole(tmp_path, weights)


# ---- 40: redirects

def redirecting(location):
    return lambda request, n: {"status": 302, "headers": {"Location": location}, "body": b""}


@pytest.mark.parametrize("location, word", [
    ("/owner/model/resolve/%s/model.safetensors" % COMMIT, "ten times"),
    ("ftp://127.0.0.1/x", "neither https nor http"),
    ("file:///etc/passwd", "neither https nor http"),
])
def test_redirects_that_nobody_should_follow(location, word, tmp_path, hub):
    origin = hub(payload(1000), redirecting(location))
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and word in done.stderr, done.stderr
    assert len(origin.files_requested("model.safetensors")) <= 11


# ---- 41: two processes

def test_two_processes_fetch_it_once(tmp_path, hub):
    weights = payload(12 * MIB, 11)
    origin = hub(weights, lambda request, n: {"slow": 0.05})
    both = [subprocess.Popen([BINARY, "model", "pull", "hub:owner/model"], env=at_hub(tmp_path, origin),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [p.communicate(timeout=60)[0].decode() for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    check_whole(tmp_path, weights)
    assert len(origin.files_requested("model.safetensors")) == 1


def test_when_the_one_that_fetches_is_killed_the_other_goes_on(tmp_path, hub):
    weights = payload(12 * MIB, 12)
    origin = hub(weights, lambda request, n: {"slow": 0.4} if n == 1 else None)
    command = [BINARY, "model", "pull", "hub:owner/model"]
    first = subprocess.Popen(command, env=at_hub(tmp_path, origin), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    eventually(lambda: origin.sent.get("model.safetensors", 0) > MIB, 30, "the first fetches")
    second = subprocess.Popen(command, env=at_hub(tmp_path, origin), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    first.kill()
    first.wait()
    begin = time.monotonic()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 0 and "another process" in errors, errors
    assert time.monotonic() - begin < 5
    check_whole(tmp_path, weights)


# ---- 39, 42: the disk

def test_without_room_nothing_is_begun(tmp_path, hub):
    origin = hub(payload(1000))
    listing = json.loads(origin._listing(type("R", (), {"path": "/api/models/owner/model/revision/main"})))
    for entry in listing["siblings"]:
        if entry["rfilename"] == "model.safetensors":
            entry["size"] = 1 << 41
    origin.listing = json.dumps(listing).encode()
    done = pull(tmp_path, origin)
    assert done.returncode == 1 and re.search(r"need \d+ MiB .* have \d+ MiB", done.stderr), done.stderr
    assert not origin.files_requested("model.safetensors")


def test_a_file_limit_at_any_byte_keeps_what_has_come(tmp_path, hub):
    """The disk is full after k bytes, for many k; when there is room again the download goes on."""
    weights = payload(3 * MIB, 13)
    origin = hub(weights)
    chance = random.Random(39)
    for i in range(25):
        home = tmp_path / str(i)
        home.mkdir()
        limit = chance.randrange(70_000, 3 * MIB)
        full = subprocess.run(["bash", "-c", 'ulimit -f %d; exec "$@"' % max(1, limit // 1024), "bash",
                               BINARY, "model", "pull", "hub:owner/model"], env=at_hub(home, origin),
                              capture_output=True, text=True, timeout=60)
        assert full.returncode == 1 and "need" in full.stderr and "have" in full.stderr, full.stderr
        assert not stored(home).exists()
        kept = json.loads(partial(home, "model.safetensors.part.json").read_text())["synced"]
        assert limit - 68_000 <= kept <= limit
        done = pull(home, origin)
        assert done.returncode == 0, done.stderr
        check_whole(home, weights)
        shutil.rmtree(home)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_bytes_are_on_the_disk_before_a_name_is(tmp_path, hub):  # 42
    origin = hub(payload(3 * MIB, 14))
    trace = tmp_path / "trace"
    done = subprocess.run(["strace", "-f", "-y", "-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2", "-o", str(trace),
                           BINARY, "model", "pull", "hub:owner/model"], env=at_hub(tmp_path, origin),
                          capture_output=True, text=True, timeout=60)
    if "ptrace" in done.stderr.lower():
        pytest.skip("ptrace is not allowed here")
    assert done.returncode == 0, done.stderr
    calls = []
    for line in trace.read_text().splitlines():
        found = re.search(r"(write|fsync|renameat2?)\(\d+<([^>]*)>(.*)", line)
        if found and "/models" in found.group(2):
            calls.append((found.group(1).rstrip("2"), found.group(2), found.group(3)))
    part = str(partial(tmp_path, "model.safetensors.part"))
    folder = str(partial(tmp_path, "").parent / ".model.partial")
    last_write = max(i for i, c in enumerate(calls) if c[0] == "write" and c[1] == part)
    renamed = next(i for i, c in enumerate(calls)
                   if c[0] == "renameat" and '"model.safetensors.part"' in c[2] and '"model.safetensors"' in c[2])
    final = next(i for i, c in enumerate(calls) if c[0] == "renameat" and '".model.partial"' in c[2])
    assert any(c[0] == "fsync" and c[1] == part for c in calls[last_write + 1:renamed])
    assert calls[renamed + 1][0] == "fsync" and calls[renamed + 1][1] == folder
    assert final > renamed and calls[final + 1][:2] == ("fsync", str(tmp_path / "models"))


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_file_whose_sync_fails_gets_no_name(tmp_path, hub):  # 42
    origin = hub(payload(MIB, 15))
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO",
                           BINARY, "model", "pull", "hub:owner/model"], env=at_hub(tmp_path, origin),
                          capture_output=True, text=True, timeout=60)
    if "ptrace" in done.stderr.lower():
        pytest.skip("ptrace is not allowed here")
    assert done.returncode == 1 and "durable" in done.stderr, done.stderr
    assert not stored(tmp_path).exists() and not partial(tmp_path).exists()


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
    assert not origin.files_requested("model.safetensors") and not stored(tmp_path).exists()
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
    assert run(tmp_path, "model", "pull", "http://127.0.0.1:1/m.gguf", "--sha256", digest or "x").returncode == 2


@pytest.mark.parametrize("command", ["remove", "path", "verify"])
@pytest.mark.parametrize("name", ["..", "../x", "/etc", ".hidden", "a/b", "-x", "tiny", "n" * 300])
def test_names_that_are_none_touch_nothing(command, name, tmp_path):
    (tmp_path / "models").mkdir()
    done = run(tmp_path, "model", command, "--", name)
    assert done.returncode == 2 and name[:20] in done.stderr
    assert os.listdir(tmp_path / "models") == []


def test_a_link_in_the_models_place_is_not_followed(tmp_path, hub):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").write_text("mine")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model").symlink_to(elsewhere)
    (tmp_path / "models" / ".model.partial").symlink_to(elsewhere)
    assert pull(tmp_path, hub(payload(1000))).returncode == 1
    assert run(tmp_path, "model", "remove", "model").returncode == 2
    assert (elsewhere / "keep").read_text() == "mine" and os.listdir(elsewhere) == ["keep"]


# ---- commands and modes, with a real model

TINY_REPOSITORY = "mlx-community/Phi-3-mini-128k-instruct-4bit"
DEFAULT = "phi-3-mini-128k-instruct-4bit"


def tiny_files():
    return {p.name: p.read_bytes() for p in (TINY / "mlx").iterdir() if p.is_file()}


class Serving:
    """A `pensieve` in any mode until it answers."""

    def __init__(self, home, hub, *args):
        self.output = Path(home) / "output.log"
        self.output.parent.mkdir(exist_ok=True)
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen([BINARY, *args, "--port", "0"], env=at_hub(home, hub),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    @property
    def log(self):
        return self.output.read_text(errors="replace")

    def ready(self):
        eventually(lambda: "is ready" in self.log or self.process.poll() is not None, 60, "it serves")
        assert self.process.poll() is None, self.log
        port = int(re.search(r"address +http://127\.0\.0\.1:(\d+)", self.log).group(1))
        health = request(port, "GET", "/health", token=TOKEN)
        assert health.status == 200
        return health.json

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log


def test_auto_fetches_the_default_model_and_serves_it(tmp_path, hub):
    origin = hub(files=tiny_files(), repository=TINY_REPOSITORY)
    server = Serving(tmp_path, origin)
    try:
        assert server.ready()["model"] != "pensieve-tiny"
        assert "Fetching " + DEFAULT in server.log
    finally:
        server.stop()
    asked = len(origin.requests)
    again = Serving(tmp_path, origin)
    again.ready()
    again.stop()
    assert len(origin.requests) == asked, "what is here is not asked for again"
    skip = Serving(tmp_path, "http://127.0.0.1:1", "skip")
    skip.ready()
    skip.stop()
    ask = run(tmp_path, "ask", "--model", DEFAULT, "list the files in src")
    assert ask.returncode == 0 and ask.stdout.strip(), ask.stderr


def test_auto_without_a_hub_serves_the_embedded_model_soon(tmp_path):
    begin = time.monotonic()
    server = Serving(tmp_path, "http://127.0.0.1:1")
    server.ready()
    assert time.monotonic() - begin < 8
    assert "cannot be reached" in server.log and "Pensieve Tiny" in server.log
    server.stop()


def test_auto_waits_five_seconds_for_a_hub_that_says_nothing(tmp_path):
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    for _ in range(4):  # the backlog is full then, and a connection is never taken
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(full.getsockname())
        fillers.append(s)
    begin = time.monotonic()
    server = Serving(tmp_path, "http://127.0.0.1:%d" % full.getsockname()[1])
    server.ready()
    assert 4 < time.monotonic() - begin < 12
    server.stop()


def test_skip_never_asks(tmp_path, hub):
    origin = hub(files=tiny_files(), repository=TINY_REPOSITORY)
    done = subprocess.run([BINARY, "skip", "--port", "0"], env=at_hub(tmp_path, origin), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 2 and "model pull" in done.stderr and not origin.requests


def test_force_swaps_only_what_is_whole(tmp_path, hub):
    files = tiny_files()
    origin = hub(files=files, repository=TINY_REPOSITORY)
    assert pull(tmp_path, origin, model=DEFAULT).returncode == 0
    weights = next(n for n in files if n.endswith(".safetensors"))
    place = stored(tmp_path, DEFAULT)
    inode = (place / weights).stat().st_ino
    origin.script = lambda request, n: {"body": b"x" * len(files[weights])}
    bad = subprocess.run([BINARY, "force", "--port", "0"], env=at_hub(tmp_path, origin), capture_output=True, text=True,
                         timeout=120)
    assert bad.returncode == 3, bad.stderr
    assert (place / weights).stat().st_ino == inode and run(tmp_path, "model", "verify", DEFAULT).returncode == 0
    origin.script = lambda request, n: None
    server = Serving(tmp_path, origin, "force")
    server.ready()
    server.stop()
    assert (place / weights).stat().st_ino != inode
    assert [n for n in os.listdir(tmp_path / "models") if not n.endswith(".lock")] == [DEFAULT]


def test_list_verify_remove_import_path(tmp_path, hub):
    imported = run(tmp_path, "model", "import", TINY / "mlx", "--name", "mine", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["path"] == str(stored(tmp_path, "mine"))
    assert run(tmp_path, "model", "import", TINY / "mlx", "--name", "mine").returncode == 2
    gguf = TINY / "pensieve-tiny-q4_0.gguf"
    assert run(tmp_path, "model", "import", gguf).returncode == 0
    path = run(tmp_path, "model", "path", "pensieve-tiny-q4_0").stdout.strip()
    assert Path(path).read_bytes() == gguf.read_bytes()

    listed = run(tmp_path, "model", "list")
    assert listed.returncode == 0
    for word in (DEFAULT, "qwen2.5-coder-7b-instruct-4bit", "qwen3-4b-4bit", "mine", "FITS", "RAM, 32k"):
        assert word in listed.stdout
    models = {m["name"]: m for m in json.loads(run(tmp_path, "model", "list", "--json").stdout)["models"]}
    assert models["mine"]["here"] and not models[DEFAULT]["here"] and models[DEFAULT]["default"]
    # Phi-3-mini at 4 bit: 2.15 GB of weights, and about 209,000 bytes per token of q8 keys and values.
    need = models[DEFAULT]["memory_16k_bytes"]
    assert 2.15e9 + 16384 * 208_000 < need < 2.2e9 + 16384 * 210_000 + 400 * MIB
    assert models[DEFAULT]["memory_32k_bytes"] - need == 16384 * 208_896

    assert run(tmp_path, "model", "verify").returncode == 0
    victim = next(p for p in stored(tmp_path, "mine").iterdir() if p.suffix == ".safetensors")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    bad = run(tmp_path, "model", "verify", "mine", "--json")
    assert bad.returncode == 3 and hashlib.sha256(data).hexdigest() in bad.stderr
    assert [(m["name"], m["good"]) for m in json.loads(bad.stdout)] == [("mine", False)]
    served = run(tmp_path, "ask", "--model", "mine", "hello")
    assert served.returncode == 3 and "has changed" in served.stderr

    removed = run(tmp_path, "model", "remove", "mine", "--json")
    assert removed.returncode == 0 and json.loads(removed.stdout)["freed_bytes"] >= len(data)
    assert not stored(tmp_path, "mine").exists()
    assert run(tmp_path, "model", "remove", "mine").returncode == 2
    assert run(tmp_path, "model", "path", "mine").returncode == 2
