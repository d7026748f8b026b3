"""`pensieve model …` and what `pensieve` fetches by itself, as somebody meets them who has just installed
it: an origin on loopback serves a small real model under the default model's name."""
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from model_store import (DEFAULT, DEFAULT_REPOSITORY, MIB, WEIGHTS, Serving, asked, at_hub, check_whole, partial, payload, pull,
                         start_pull, stored, synced, tiny_files)
from pensieve import BINARY, ROOT, TINY, TOKEN, eventually, request, run, user
from terminal import Terminal


def default_hub(hub, script=None):
    return hub(files=tiny_files(), repository=DEFAULT_REPOSITORY, script=script)


# ---- the first start

def test_auto_fetches_the_default_model_and_serves_it(tmp_path, hub):
    origin = default_hub(hub)
    server = Serving(tmp_path, origin)
    try:
        assert server.ready()["model"] != "pensieve-tiny"
        assert "Fetching " + DEFAULT in server.log
    finally:
        server.stop()
    before = len(origin.requests)
    again = Serving(tmp_path, origin)
    again.ready()
    again.stop()
    assert len(origin.requests) == before, "what is here is not asked for again"
    skip = Serving(tmp_path, "http://127.0.0.1:1", "skip")
    skip.ready()
    skip.stop()
    ask = run(tmp_path, "ask", "--model", DEFAULT, "list the files in src")
    assert ask.returncode == 0 and ask.stdout.strip(), ask.stderr


def test_a_first_start_that_is_interrupted_goes_on_and_answers(tmp_path, hub):
    """Ctrl-C in the middle, then kill -9, then nothing: at each start the download goes on from what was
    safe, and the third answers a question."""
    total = len(tiny_files()[WEIGHTS])
    origin = default_hub(hub, lambda request, n: {"slow": 0.25} if n < 3 else None)
    first = Serving(tmp_path, origin, "auto")
    eventually(lambda: origin.sent.get(WEIGHTS, 0) > total // 2, 30, "half of it is on its way")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(10) == 130
    lines = first.log.strip().split("\n")
    assert lines[-1] == "pensieve: stopped; what has come is kept, and the same command goes on from there", first.log
    assert any(re.match(DEFAULT + r"  \[#+\.+\] +\d+ %  .* of 13\.4 MiB  .*/s  .* left$", line) for line in lines), first.log
    kept = synced(tmp_path, name=DEFAULT)
    assert total // 4 < kept < total and not stored(tmp_path, DEFAULT).exists()

    listed = run(tmp_path, "model", "list", "--json").stdout
    row = next(m for m in json.loads(listed)["models"] if m["name"] == DEFAULT)
    assert not row["here"] and row["partial_bytes"] >= kept

    second = Serving(tmp_path, origin)
    eventually(lambda: len(asked(origin)) == 2, 30, "it asks for the rest")
    time.sleep(0.3)
    second.process.kill()
    assert second.process.wait(10) == -signal.SIGKILL

    third = Serving(tmp_path, origin)
    third.ready()
    answer = request(third.port, "POST", "/v1/messages", user("list the files in src"), TOKEN)
    assert answer.status == 200 and answer.text.strip()
    third.stop()
    assert asked(origin) == [None, kept, kept]
    assert run(tmp_path, "model", "verify", DEFAULT).returncode == 0


def test_a_first_start_on_a_terminal_shows_how_far_it_is(tmp_path, hub):
    origin = default_hub(hub, lambda request, n: {"slow": 0.25})

    def start():
        return Terminal([BINARY, "--port", "0"], str(tmp_path), at_hub(tmp_path, origin, TERM="xterm"))
    terminal = start()
    terminal.until("Fetching %s, " % DEFAULT)
    eventually(lambda: origin.sent.get(WEIGHTS, 0) > 6 * MIB, 30, "going on will be seen", terminal.read)
    terminal.type("\x03")
    begin = time.monotonic()
    assert terminal.status() == 130 and time.monotonic() - begin < 5
    assert "what has come is kept" in terminal.seen and synced(tmp_path, name=DEFAULT) > 5 * MIB

    again = start()
    seen = ""
    while "is ready" not in seen:
        again.read()
        seen, again.seen = seen + again.seen, ""
    lines = [line for line in seen.split("\r\x1b[K") if " of 13.4 MiB" in line]
    assert lines and all(len(line) < 120 for line in lines), seen
    percents = [int(re.search(r"(\d+) %", line).group(1)) for line in lines]
    assert percents == sorted(percents) and percents[0] > 35
    # 4 MiB/s: what was kept does not count as speed.
    speeds = [float(s) for s in re.findall(r"([\d.]+) MiB/s", seen)]
    assert speeds and all(0 < s < 5 for s in speeds), speeds
    again.type("\x03")
    assert again.status() == 0


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
    origin = default_hub(hub)
    done = subprocess.run([BINARY, "skip", "--port", "0"], env=at_hub(tmp_path, origin), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 2 and "model pull" in done.stderr and not origin.requests


def test_force_swaps_only_what_is_whole(tmp_path, hub):
    files = tiny_files()
    origin = default_hub(hub)
    assert pull(tmp_path, origin, model=DEFAULT).returncode == 0
    place = stored(tmp_path, DEFAULT)
    inode = (place / WEIGHTS).stat().st_ino
    origin.script = lambda request, n: {"body": b"x" * len(files[WEIGHTS])}
    bad = subprocess.run([BINARY, "force", "--port", "0"], env=at_hub(tmp_path, origin), capture_output=True, text=True,
                         timeout=120)
    assert bad.returncode == 3, bad.stderr
    assert (place / WEIGHTS).stat().st_ino == inode and run(tmp_path, "model", "verify", DEFAULT).returncode == 0

    # While the new one comes, and when that is broken off, the old one is there and answers.
    origin.script = lambda request, n: {"slow": 0.3}
    broken = Serving(tmp_path, origin, "force")
    eventually(lambda: partial(tmp_path, WEIGHTS + ".part", DEFAULT).exists(), 30, "the new one comes")
    ask = run(tmp_path, "ask", "--model", DEFAULT, "list the files in src")
    assert ask.returncode == 0 and ask.stdout.strip(), ask.stderr
    assert broken.process.poll() is None
    broken.process.send_signal(signal.SIGTERM)
    assert broken.process.wait(10) == 143
    assert (place / WEIGHTS).stat().st_ino == inode

    origin.script = lambda request, n: None
    server = Serving(tmp_path, origin, "force")
    server.ready()
    server.stop()
    assert (place / WEIGHTS).stat().st_ino != inode
    assert [n for n in os.listdir(tmp_path / "models") if not n.endswith(".lock")] == [DEFAULT]


@pytest.mark.parametrize("how", [["auto"], ["force"], ["model", "pull"], ["model", "pull", "--force"], ["model", "remove", DEFAULT]],
                         ids=" ".join)
def test_a_directory_that_somebody_put_there_is_neither_replaced_nor_removed(how, tmp_path, hub):
    """Downloaded by another program, say, right into the models' place."""
    origin = default_hub(hub)
    place = stored(tmp_path, DEFAULT)
    place.mkdir(parents=True)
    for name, data in tiny_files().items():
        (place / name).write_bytes(data)
    port = [] if how[0] == "model" else ["--port", "0"]
    done = subprocess.run([BINARY, *how, *port], env=at_hub(tmp_path, origin), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "stays as it is" in done.stderr, done.stderr
    assert {p.name: p.read_bytes() for p in place.iterdir()} == tiny_files() and not origin.requests
    path = re.search(r"`pensieve --model (\S+)` serves it", done.stderr).group(1)
    ask = run(tmp_path, "ask", "--model", path, "list the files in src")
    assert ask.returncode == 0 and ask.stdout.strip(), ask.stderr


# ---- pensieve model …

def test_list_verify_remove_import_path(tmp_path):
    imported = run(tmp_path, "model", "import", TINY / "mlx", "--name", "mine", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["path"] == str(stored(tmp_path, "mine"))
    assert run(tmp_path, "model", "import", TINY / "mlx", "--name", "mine").returncode == 2
    gguf = TINY / "pensieve-tiny-q4_0.gguf"
    assert run(tmp_path, "model", "import", gguf).returncode == 0
    assert "pensieve-tiny-q4_0" not in run(tmp_path, "model", "inspect", "mine").stdout
    assert json.loads(run(tmp_path, "model", "inspect", "pensieve-tiny-q4_0", "--json").stdout)
    shards = ROOT / "tests" / "fixtures" / "phi3" / "gguf-sharded"
    for what, name in ((shards, "gguf-sharded"), (sorted(shards.glob("*.gguf"))[1], "small")):
        taken = json.loads(run(tmp_path, "model", "import", what, "--json").stdout)
        assert taken["name"] == name and len(taken["files"]) == 3
        assert "in 3 files" in run(tmp_path, "model", "inspect", taken["path"]).stdout
        assert run(tmp_path, "model", "remove", name).returncode == 0
    odd = tmp_path / "My model (1).gguf"
    odd.symlink_to(gguf)
    assert json.loads(run(tmp_path, "model", "import", odd, "--json").stdout)["name"] == "My-model-1"
    path = run(tmp_path, "model", "path", "pensieve-tiny-q4_0").stdout.strip()
    assert Path(path).read_bytes() == gguf.read_bytes()

    models = {m["name"]: m for m in json.loads(run(tmp_path, "model", "list", "--json").stdout)["models"]}
    assert models["mine"]["here"] and not models[DEFAULT]["here"] and models[DEFAULT]["default"]
    # Phi-3-mini at 4 bit: 2.15 GB of weights, and about 209,000 bytes per token of q8 keys and values.
    need = models[DEFAULT]["memory_16k_bytes"]
    assert 2.15e9 + 16384 * 208_000 < need < 2.2e9 + 16384 * 210_000 + 400 * MIB
    assert models[DEFAULT]["memory_32k_bytes"] - need == 16384 * 208_896

    assert run(tmp_path, "model", "verify").returncode == 0
    victim = stored(tmp_path, "mine") / WEIGHTS
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    bad = run(tmp_path, "model", "verify", "mine", "--json")
    assert bad.returncode == 3 and hashlib.sha256(data).hexdigest() in bad.stderr
    assert [(m["name"], m["good"]) for m in json.loads(bad.stdout)] == [("mine", False)]
    served = run(tmp_path, "ask", "--model", "mine", "hello")
    assert served.returncode == 3 and "has changed" in served.stderr

    # Cut short, and a manifest that is none: the list shows it, verify says it, and remove helps.
    os.truncate(victim, 1000)
    (stored(tmp_path, "My-model-1") / "manifest.json").write_text("{}")
    models = {m["name"]: m for m in json.loads(run(tmp_path, "model", "list", "--json").stdout)["models"]}
    assert [models[n]["damaged"] for n in ("mine", "My-model-1", "pensieve-tiny-q4_0")] == [True, True, False]
    assert row_of(run(tmp_path, "model", "list").stdout, "mine")[3] == "bad"
    all_of_them = run(tmp_path, "model", "verify", "--json")
    assert all_of_them.returncode == 3 and "My-model-1/manifest.json is damaged" in all_of_them.stderr
    assert {m["name"]: m["good"] for m in json.loads(all_of_them.stdout)} == {
        "mine": False, "My-model-1": False, "pensieve-tiny-q4_0": True}
    assert run(tmp_path, "model", "remove", "My-model-1").returncode == 0

    removed = run(tmp_path, "model", "remove", "mine", "--json")
    assert removed.returncode == 0 and json.loads(removed.stdout)["freed_bytes"] > 1000
    assert not stored(tmp_path, "mine").exists()
    assert run(tmp_path, "model", "remove", "mine").returncode == 2
    assert run(tmp_path, "model", "path", "mine").returncode == 2


def row_of(text, name):
    found = [line for line in text.split("\n") if re.match(r"[* ] %s " % re.escape(name), line)]
    assert len(found) == 1, text
    return found[0].split()


def test_the_list_says_at_once_what_is_here_and_what_fits(tmp_path, hub):
    empty = run(tmp_path, "model", "list")
    assert empty.returncode == 0 and empty.stderr == "" and not (tmp_path / "models").exists()
    head = next(line for line in empty.stdout.split("\n") if "MODEL" in line).split()
    assert head[:5] == ["MODEL", "SIZE", "HERE", "FITS", "WINDOW"]
    for name in (DEFAULT, "qwen2.5-coder-7b-instruct-4bit", "qwen3-4b-4bit"):
        assert "no" in row_of(empty.stdout, name)
    assert row_of(empty.stdout, DEFAULT)[0] == "*"
    assert row_of(empty.stdout, "tiny")[3] == "yes"

    origin = hub(payload(2 * MIB), lambda request, n: {"slow": 3} if n == 1 else None)
    process = start_pull(tmp_path, origin)
    eventually(lambda: partial(tmp_path, WEIGHTS + ".part").exists(), 30, "it has begun")
    process.kill()
    process.wait()
    (tmp_path / "models" / "default").symlink_to(TINY / "pensieve-tiny-q4_0.gguf")
    full = run(tmp_path, "model", "list").stdout
    assert row_of(full, "model")[1:3] == ["?", "part"]
    assert row_of(full, "default")[0] == "*" and row_of(full, DEFAULT)[0] != "*"
    assert run(tmp_path, "model", "remove", "model").returncode == 0
    assert "  model " not in run(tmp_path, "model", "list").stdout

    json_text = run(tmp_path, "model", "list", "--json").stdout
    available = json.loads(json_text)["available_bytes"]
    for model in json.loads(json_text)["models"]:
        assert model["fits"] in ("yes", "tight", "no") and (model["window_tokens"] > 0) == (model["fits"] != "no")
        if model["fits"] == "yes" and model["window_tokens"] < model["context_length"]:
            # Its window is the largest of whole pages that leaves 3 GiB.
            per_token = (model["memory_32k_bytes"] - model["memory_16k_bytes"]) // 16384
            rest = available - 3 * (1 << 30) - (model["memory_16k_bytes"] - 16384 * per_token)
            assert 0 <= rest - model["window_tokens"] * per_token < 64 * per_token


def test_the_list_fits_its_terminal(tmp_path):
    terminal = Terminal([BINARY, "model", "list"], str(tmp_path), at_hub(tmp_path, "http://127.0.0.1:1", TERM="xterm"))
    terminal.until("pensieve model remove NAME\r\n")
    assert terminal.status() == 0


@pytest.mark.parametrize("arguments, status, words", [
    (["model"], 2, ["needs a command", "list, pull, verify"]),
    (["model", "fetch", "x"], 2, ["no command 'fetch'", "pull"]),
    (["model", "list", "x"], 2, ["x", "pensieve model list --help"]),
    (["model", "pull", "--forse"], 2, ["--forse", "pensieve model pull --help"]),
    (["model", "pull", "a", "b"], 2, ["b"]),
    (["model", "pull", "qwen3"], 2, ["no model is called qwen3", "did you mean qwen3-4b-4bit?", "model list"]),
    (["model", "pull", "nothing-like-it"], 2, ["no model is called", "hub:OWNER/NAME"]),
    (["model", "pull", "hub:owner"], 2, ["hub:OWNER/NAME[@REVISION][:FILE.gguf]"]),
    (["model", "pull", "hub:o/n:x.bin"], 2, [".gguf"]),
    (["model", "pull", "./x.gguf"], 2, ["is a path", "model import"]),
    (["model", "pull", "https://h/x.bin"], 2, [".gguf"]),
    (["model", "pull", "ftp://h/x.gguf"], 2, ["http"]),
    (["model", "pull", "--sha256", "0" * 64], 2, ["--sha256 is for a URL"]),
    (["model", "pull", "--stall-timeout", "0"], 2, ["--stall-timeout"]),
    (["model", "verify", "nope"], 2, ["no model nope here", "model list"]),
    (["model", "remove"], 2, ["required", "pensieve model remove --help"]),
    (["model", "remove", "nope"], 2, ["no model nope here"]),
    (["model", "import", "/nowhere/x.gguf"], 2, ["/nowhere/x.gguf"]),
    (["model", "import", "/etc/passwd"], 2, ["/etc/passwd"]),
    (["model", "path", "nope"], 2, ["no model nope here"]),
    (["model", "path", "tiny"], 2, ["'tiny' is inside the program"]),
    (["model", "remove", "default"], 2, ["'default' is what you put there yourself"]),
    (["model", "inspect", "qwen3"], 2, ["did you mean qwen3-4b-4bit?"]),
    (["model", "inspect", "/nowhere"], 2, ["/nowhere"]),
    (["--model", "qwen3"], 2, ["did you mean qwen3-4b-4bit?"]),
], ids=lambda x: " ".join(x) if isinstance(x, list) and x and x[0].startswith(("model", "--model")) else "")
def test_what_cannot_be_done_is_said_in_one_sentence(arguments, status, words, tmp_path):
    done = run(tmp_path, *arguments)
    assert done.returncode == status and done.stdout == ""
    assert done.stderr.startswith("pensieve: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["verify"]], ids=" ".join)
def test_output_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none(arguments, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "model", *arguments], env=at_hub(tmp_path, ""), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr, done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([BINARY, "model", *arguments], env=at_hub(tmp_path, ""), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("command", ["", "list", "pull", "verify", "remove", "import", "path", "inspect"])
def test_every_command_has_its_own_help(command, tmp_path):
    done = run(tmp_path, *filter(None, ["model", command, "--help"]))
    assert done.returncode == 0 and done.stderr == "" and not list(tmp_path.iterdir())
    assert "Usage: pensieve model" in done.stdout and "pensieve claude" not in done.stdout
    if command:
        assert "--json" in done.stdout


def test_an_import_that_does_not_fit_says_so_and_leaves_nothing(small_disk):
    disk = small_disk(8 * MIB)
    done = run(disk, "model", "import", TINY / "mlx", "--name", "mine")
    assert done.returncode == 1 and re.search(r"need 14 MiB .*have [78] MiB ", done.stderr), done.stderr
    assert not list(disk.glob("models/*mine")) and json.loads(run(disk, "model", "list", "--json").stdout)


def test_ctrl_c_ends_what_reads_a_whole_model(tmp_path):
    """verify and import: 130, at once, and nothing half done is left."""
    home, big = tmp_path / "home", tmp_path / "big.gguf"
    big.write_bytes((TINY / "pensieve-tiny-q4_0.gguf").read_bytes())
    os.truncate(big, 2 << 30)  # a hole behind the last tensor: to read it takes seconds

    def stop(begun, *arguments):
        process = subprocess.Popen([BINARY, "model", *map(str, arguments)], env=at_hub(home, ""), stderr=subprocess.PIPE, text=True)
        eventually(lambda: begun(process), 30, "it has begun")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 130 and errors == "pensieve: stopped\n"

    def has_open(path):
        return lambda process: any(os.path.realpath(fd) == str(path) for fd in Path("/proc/%d/fd" % process.pid).iterdir())
    stop(lambda process: partial(home, "big.gguf", "big").exists(), "import", big)
    assert not stored(home, "big").exists() and not partial(home, "", "big").exists()

    # In its place by hand, as a restored backup would be, and therefore to be read again.
    assert run(home, "model", "import", TINY / "pensieve-tiny-q4_0.gguf", "--name", "big").returncode == 0
    file = stored(home, "big") / "pensieve-tiny-q4_0.gguf"
    os.truncate(file, 2 << 30)
    before = (stored(home, "big") / "manifest.json").read_bytes()
    stop(has_open(file), "verify", "big")
    assert (stored(home, "big") / "manifest.json").read_bytes() == before
