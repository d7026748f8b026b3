"""Start, end, and the faults in between: signals, a port in use, a bad model, the token."""
import http.client
import json
import os
import random
import signal
import socket
import stat
import subprocess
import time

import pytest

from model_store import payload
from pensieve import (BINARY, SANITIZED, TINY, TOKEN, Collected, Stream, at_once, endless, environment, eventually,
                      request, run, user)

ENGINE_PLACES = 10   # requests that run or wait; one more is refused


def test_an_idle_server_ends_at_once_on_SIGTERM_and_SIGINT(start):
    for number in (signal.SIGTERM, signal.SIGINT):
        server = start()
        server.signal(number)
        begin = time.monotonic()
        assert server.wait(30) == 0, server.log
        assert time.monotonic() - begin < (1 if not SANITIZED else 5)  # there a leak check comes first


def test_32_streams_end_in_a_terminal_event_each_when_the_server_drains(start):
    """RELIABILITY, case 62. Those beyond the engine's places were refused before, which is an end too.
    PENSIEVE_GRACE=1: with answers that outlast the grace of 30 s, so that each is cut off."""
    outlasting = bool(os.environ.get("PENSIEVE_GRACE"))
    server = start()
    streams = at_once([lambda i=i: server.stream(endless(i) if outlasting else user("count to 6"))
                       for i in range(32)])
    begun = [s for s in streams if s.status == 200]
    assert {s.status for s in streams} <= {200, 529} and len(begun) >= ENGINE_PLACES
    for s in begun:
        s.until("message_start")
    server.signal()
    begin = time.monotonic()
    ends = at_once([lambda s=s: [name for name, _ in s][-1] for s in begun])
    assert set(ends) <= {"message_stop", "error"}, ends
    assert outlasting or ends == ["message_stop"] * len(begun)
    assert server.wait() == 0, server.log
    assert time.monotonic() - begin < 30 + 1 + 2   # the grace, its end, and a busy machine


def test_a_draining_server_refuses_new_work_and_says_so(start):
    server = start()
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    idle.request("GET", "/health")
    assert idle.getresponse().read()
    running = server.stream(endless(3))
    running.until("content_block_delta")
    server.signal()
    time.sleep(0.2)
    try:
        idle.request("GET", "/health")  # the connection of before may still be there: then 503
        answer = idle.getresponse()
        assert answer.status == 503 and answer.headers["connection"] == "close"
        answer.read()
    except (ConnectionError, http.client.RemoteDisconnected):
        pass
    with pytest.raises(OSError):
        request(server.port, "GET", "/health")
    running.close()
    assert server.wait() == 0, server.log


def test_a_second_signal_ends_it_without_waiting(start):
    server = start()
    running = server.stream(endless(4))
    running.until("content_block_delta")
    server.signal()
    time.sleep(0.2)
    assert server.process.poll() is None
    server.signal()
    begin = time.monotonic()
    assert server.wait(10) in (143, -signal.SIGTERM)
    assert time.monotonic() - begin < 5
    running.close()


def test_a_killed_server_starts_again_without_a_hand(start, tmp_path):
    home = tmp_path / "home"
    first = start(home=home)
    first.post(user("hello"))
    first.kill()
    second = start(home=home)
    assert second.post(user("hello")).status == 200
    second.stop()


def test_killed_again_and_again_it_starts_again_without_a_hand(tmp_path, tell):
    """kill -9 at any moment of a life, most of them while it starts or answers; then a start that has to
    answer. PENSIEVE_KILLS=1000 for as many."""
    n = int(os.environ.get("PENSIEVE_KILLS", "6"))
    seed = int(os.environ.get("PENSIEVE_SEED", "62"))
    points, home, served, slowest = random.Random(seed), tmp_path / "home", 0, 0.0
    home.mkdir()
    socket_path = home / "socket"
    log = open(tmp_path / "log", "ab")
    for i in range(n):
        process = subprocess.Popen(
            [BINARY, "skip", "--model", "tiny", "--unix-socket", str(socket_path), "--port", "0", "--state-file",
             str(home / "server.json")],
            env=environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        begin, port = time.monotonic(), None
        # Each second life is killed wherever it is; the others have to answer first.
        if i % 2:
            time.sleep(points.random() * 0.15)
        else:
            state = home / "server.json"

            def answers():
                nonlocal port
                assert process.poll() is None, (i, (tmp_path / "log").read_text()[-2000:])
                try:
                    told = json.loads(state.read_text())
                    port = told["port"] if told["pid"] == process.pid else None
                    return port and request(port, "GET", "/health").status == 200
                except (OSError, ValueError):
                    return False
            eventually(answers, 60, "an answer after %d kills, seed %d" % (i, seed))
            slowest = max(slowest, time.monotonic() - begin)
            stream = Stream(port, {**user("count to 9 and then to %d" % i), "stream": True}, TOKEN)
            stream.until("message_start")
            time.sleep(points.random() * 0.05)
            served += 1
        process.kill()
        process.wait()
    tell("%d kills, %d of %d starts that were let live answered, the slowest after %.2f s", n, served,
         (n + 1) // 2, slowest)
    assert served == (n + 1) // 2
    assert run(home, "status").returncode == 3


def test_a_port_in_use_is_said_at_once_and_its_owner_goes_on(start, tmp_path):
    """Never SO_REUSEPORT: two servers would share the port without knowing."""
    first = start()
    begin = time.monotonic()
    second = run(tmp_path, "skip", "--model", "tiny", "--port", first.port, timeout=60)
    took = time.monotonic() - begin
    assert second.returncode == 1 and str(first.port) in second.stderr
    assert took < (1 if not SANITIZED else 10), took
    assert first.post(user("hello", max_tokens=4)).status == 200
    with socket.socket() as other:   # a third program that would share, if the first let it
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError):
            other.bind(("127.0.0.1", first.port))
    first.stop()


def test_a_port_in_use_is_said_in_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(tmp_path, "skip", "--model", "tiny", "--port", port, timeout=60)
        assert done.returncode == 1
        told = [line for line in done.stderr.splitlines() if str(port) in line]
        assert len(told) == 1 and "--port" in told[0], done.stderr


BAD_MODELS = {
    "empty": b"",
    "no magic": b"This is not a model.\n" * 100,
    "only the magic": b"GGUF",
    "version 1": b"GGUF\x01\0\0\0" + b"\0" * 64,
    "counts beyond the file": b"GGUF\x03\0\0\0" + b"\xff" * 16 + b"\0" * 64,
    "cut in the header": None,
    "cut in the data": None,
}


@pytest.mark.parametrize("what", BAD_MODELS)
def test_a_bad_model_file_is_one_sentence_and_exit_status_2(what, tmp_path):
    data = BAD_MODELS[what]
    if data is None:
        whole = (TINY / "pensieve-tiny-q4_0.gguf").read_bytes()
        data = whole[:5000] if "header" in what else whole[:len(whole) // 2]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    for command in (["skip", "--port", "0", "--model", path], ["ask", "--model", path, "hello"],
                    ["model", "inspect", path]):
        done = run(tmp_path, *command, timeout=60)
        assert done.returncode == 2, (command, done.stderr)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and "model.gguf" in lines[0], done.stderr


def test_a_model_that_is_not_there_is_one_sentence_and_exit_status_2(tmp_path):
    done = run(tmp_path, "ask", "--model", tmp_path / "nothing.gguf", "hello", timeout=60)
    assert done.returncode == 2 and "nothing.gguf" in done.stderr


def test_a_signal_while_a_model_loads_ends_it_at_once(tmp_path):
    model = TINY / "pensieve-tiny-q4_0.gguf"
    for number in (signal.SIGTERM, signal.SIGINT):
        for delay_s in (0.0, 0.01, 0.03, 0.1):
            process = subprocess.Popen([BINARY, "skip", "--port", "0", "--model", str(model)],
                                       env=environment(tmp_path), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            time.sleep(delay_s)   # a shell's background job has SIGINT ignored until the handlers are there
            process.send_signal(number)
            begin = time.monotonic()
            # Before the handlers, in the load, or already serving: each ends, in its own words.
            assert process.wait(30) in (0, 128 + number, -number)
            assert time.monotonic() - begin < (2 if not SANITIZED else 10)


def test_a_signal_while_the_model_is_fetched_ends_it_and_keeps_what_has_come(tmp_path, hub):
    origin = hub(payload(24 << 20, 3), lambda request, n: {"slow": 0.2})
    for n_signals in (1, 2):
        process = subprocess.Popen([BINARY, "--port", "0", "--model", "hub:owner/model"],
                                   env={**environment(tmp_path), "PENSIEVE_HUB_URL": origin.url},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        before = sum(origin.sent.values())
        eventually(lambda: sum(origin.sent.values()) > before + (2 << 20), 30, "some of the model")
        begin = time.monotonic()
        for _ in range(n_signals):
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[0].decode()
        assert process.returncode == 143, said
        assert time.monotonic() - begin < (2 if not SANITIZED else 10)
    assert list((tmp_path / "models").rglob("*.part"))


def test_it_serves_on_when_nobody_listens_to_what_it_says(tmp_path):
    """Standard output and errors closed from the start; and a pipe whose reader goes."""
    for how in ("closed", "broken"):
        home = tmp_path / how
        home.mkdir()
        redirect = ">&- 2>&-" if how == "closed" else ""
        reader, writer = os.pipe()
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" ' + redirect, "sh", BINARY, "skip", "--model", "tiny", "--port", "0",
             "--log-level", "debug", "--state-file", str(home / "server.json")],
            env=environment(home), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        os.close(writer)
        os.close(reader)
        try:
            eventually(lambda: process.poll() is not None or (home / "server.json").exists(), 60, "a server")
            port = json.loads((home / "server.json").read_text())["port"]
            for _ in range(3):
                assert request(port, "POST", "/v1/messages", user("hello", max_tokens=4), TOKEN).status == 200
            if how == "closed" and os.path.exists("/proc/self/fd"):   # no file of ours has their numbers
                assert {os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) for fd in (1, 2)} == {"/dev/null"}
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def test_it_serves_on_when_the_disk_of_its_log_and_home_is_full(tmp_path, small_disk):
    disk = small_disk(1 << 20)
    home = disk / "home"
    home.mkdir(mode=0o700)
    log = open(disk / "log", "wb")
    process = subprocess.Popen(
        [BINARY, "skip", "--model", "tiny", "--port", "0", "--log-level", "debug", "--state-file",
         str(home / "server.json")],
        env=environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or (home / "server.json").exists(), 60, "a server")
        port = json.loads((home / "server.json").read_text())["port"]
        with open(disk / "filler", "wb", buffering=0) as filler:
            with pytest.raises(OSError):
                while True:
                    filler.write(b"x" * 4096)
            with pytest.raises(OSError):
                while True:
                    filler.write(b"x")
        for i in range(5):
            answer = request(port, "POST", "/v1/messages", user("list the files in src " * 30, max_tokens=4), TOKEN)
            assert answer.status == 200
        assert request(port, "GET", "/health", token=TOKEN).json["status"] == "ok"
        process.terminate()
        assert process.wait(30) == 0
        # And a start on a disk that is full already: the token comes from the environment.
        again = subprocess.Popen(
            [BINARY, "skip", "--model", "tiny", "--port", str(port)],
            env=environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            def answers():
                assert again.poll() is None, (disk / "log").read_text()[-2000:]
                try:
                    return request(port, "GET", "/health").status == 200
                except OSError:
                    return False
            eventually(answers, 60, "a server on a full disk")
        finally:
            again.kill()
            again.wait()
    finally:
        process.kill()
        process.wait()
        log.close()


def test_the_token_is_made_at_first_start_kept_private_and_asked_for(start, tmp_path):
    home = tmp_path / "home"
    server = start(home=home, token=None)
    files = [p for p in home.rglob("*") if p.is_file() and "token" in p.name]
    assert len(files) == 1
    assert stat.S_IMODE(os.stat(files[0]).st_mode) == 0o600
    token = files[0].read_text().strip()
    assert len(token) >= 32
    assert request(server.port, "GET", "/v1/models").status == 401
    assert request(server.port, "GET", "/v1/models", token=token).status == 200
    assert request(server.port, "GET", "/v1/models", token=TOKEN).status == 401
    server.stop()
    again = start(home=home, token=None)
    assert files[0].read_text().strip() == token
    assert request(again.port, "GET", "/v1/models", token=token).status == 200
    again.stop()


def test_health_says_what_is_running(server):
    answer = server.get("/health")
    assert answer.status == 200
    assert answer.json["status"] == "ok"
    for field in ("model", "version", "backend"):
        assert answer.json[field], field


def test_a_stranger_learns_only_the_status_word(server):
    assert set(request(server.port, "GET", "/health").json) == {"status"}


def test_no_prompt_and_no_token_reaches_the_log(server):
    canary = "canary-%d" % os.getpid()
    assert server.post(user("say " + canary)).status == 200
    assert Collected(server.stream(user("say " + canary))).ended == "message_stop"
    assert canary not in server.log and TOKEN not in server.log


def test_a_model_file_that_is_cut_short_in_use_ends_the_server_and_no_answer_is_garbage(start, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes((TINY / "pensieve-tiny-q4_0.gguf").read_bytes())
    server = start(model=model)
    whole = server.post(user("hello", max_tokens=8))
    assert whole.status == 200
    os.truncate(model, 64 * 1024)
    with pytest.raises((OSError, http.client.HTTPException)):
        server.post(user("list the files in src", max_tokens=8))
    assert server.wait() == 70
    assert "model file was cut short" in server.log
