"""`pensieve status` and `pensieve stop`: servers of one home directory, whoever started them; and the
unix socket beside the port or alone."""
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pensieve import BINARY, TOKEN, endless, environment, eventually, headers_for, run, user


class OverSocket(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None, token=TOKEN):
        self.request(method, path, json.dumps(body) if body else None, headers_for(token))
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())


def answers(path):
    try:
        return OverSocket(path).ask("GET", "/health")[0] == 200
    except OSError:
        return False


@pytest.fixture
def start_without_tcp(tmp_path):
    """A server on the unix socket alone -> its process; killed at the end if it still runs."""
    started = []

    def begin(path, home=tmp_path / "home"):
        home.mkdir(mode=0o700, exist_ok=True)
        process = subprocess.Popen(
            [BINARY, "skip", "--model", "tiny", "--unix-socket", str(path), "--no-tcp"],
            env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)
        eventually(lambda: process.poll() is not None or answers(path), 60, "an answer on the socket")
        return process
    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def status(home, *args):
    done = run(home, "status", "--json", *args)
    return done.returncode, json.loads(done.stdout)["servers"]


def test_status_shows_what_runs_and_says_by_its_exit_status_whether_any_does(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    none = run(home, "status")
    assert none.returncode == 3 and "No Pensieve server" in none.stdout
    assert status(home) == (3, [])

    server = start(home=home)
    code, servers = status(home)
    assert code == 0 and len(servers) == 1
    seen = servers[0]
    assert seen["pid"] == server.pid and seen["url"] == server.url and seen["answers"]
    assert seen["health"]["model"].startswith("pensieve-tiny") and seen["health"]["engine"]["running"] == 0
    text = run(home, "status").stdout
    for word in (server.url, "process %d" % server.pid, "pensieve-tiny", "tokens", "available", "0 running", "uptime"):
        assert word in text, text
    running = server.stream(endless(0))
    running.until("content_block_delta")
    assert status(home)[1][0]["health"]["engine"]["running"] == 1
    running.close()
    assert status(home, "--port", server.port)[0] == 0
    assert status(home, "--port", server.port % 65535 + 1)[0] == 3
    server.stop()
    assert status(home) == (3, [])


def test_a_home_directory_is_made_for_the_record_too(start, tmp_path):
    place = {"PENSIEVE_HOME": str(tmp_path / "made" / "here")}   # the token comes from the environment
    server = start(env=place)
    done = subprocess.run([BINARY, "status"], env={**environment(tmp_path), **place}, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and server.url in done.stdout, done
    server.stop()


def test_stop_ends_a_server_in_order_and_says_how_it_ended(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    idle = run(home, "stop")
    assert idle.returncode == 0 and "No Pensieve server" in idle.stdout
    server = start(home=home)
    stream = server.stream(user("count to 12"))
    stream.until("message_start")
    done = run(home, "stop")
    assert done.returncode == 0 and "ended in order" in done.stdout, done
    assert server.process.poll() == 0
    assert [name for name, _ in stream][-1] == "message_stop"


def test_stop_waits_for_running_answers_and_tells_when_a_server_was_killed_instead(start, tmp_path):
    home = tmp_path / "home"
    server = start(home=home)
    running = server.stream(endless(1))
    running.until("content_block_delta")
    threading.Timer(1.0, server.process.kill).start()
    # The zombie must be collected: only its parent, this process, can.
    threading.Thread(target=server.process.wait, daemon=True).start()
    done = run(home, "stop")
    assert done.returncode == 1 and "did not end in order" in done.stdout, done
    assert status(home) == (3, [])
    running.close()


def test_several_servers_are_told_apart(start, tmp_path):
    home = tmp_path / "home"
    first, second = start(home=home), start(home=home)
    assert {s["pid"] for s in status(home)[1]} == {first.pid, second.pid}
    unclear = run(home, "stop")
    assert unclear.returncode == 2 and "--port" in unclear.stderr and str(second.port) in unclear.stderr
    assert run(home, "stop", "--port", second.port).returncode == 0
    assert second.process.poll() == 0 and first.process.poll() is None
    third = start(home=home)
    assert run(home, "stop", "--all").returncode == 0
    assert first.process.poll() == 0 and third.process.poll() == 0


def test_a_file_of_a_killed_server_misleads_nobody_though_its_number_lives(start, tmp_path):
    """The process id of a killed server belongs to another program, and its port to another server."""
    home = tmp_path / "home"
    server = start(home=home)
    record = home / "servers" / ("%d.json" % server.pid)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    text = record.read_text()
    server.kill()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record.rename(record.with_name("%d.json" % other.pid))
        record.with_name("%d.json" % other.pid).write_text(text.replace(str(server.pid), str(other.pid)))
        assert status(home) == (3, [])
        assert run(home, "stop").returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    again = start(home=home)
    assert [s["pid"] for s in status(home)[1]] == [again.pid]


def test_a_server_with_another_token_is_seen_but_learns_nothing(start, tmp_path):
    home = tmp_path / "home"
    server = start(home=home, token="another-token-0123456789")
    code, servers = status(home)   # run() has TOKEN
    assert code == 0 and not servers[0]["answers"] and "token" in servers[0]["why"]
    assert TOKEN not in server.log


# ---- the unix socket

def test_a_server_on_a_unix_socket_alone_answers_there_and_nowhere_else(start_without_tcp, tmp_path):
    home = tmp_path / "home"
    path = home / "socket"
    process = start_without_tcp(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(home.stat().st_mode) == 0o700
    over = OverSocket(path)
    code, message = over.ask("POST", "/v1/messages", user("hello", max_tokens=8))
    assert code == 200 and message["content"]
    assert OverSocket(path).ask("GET", "/v1/models", token=None)[0] == 401
    if os.path.exists("/proc/net/tcp"):
        inodes = {os.readlink("/proc/%d/fd/%s" % (process.pid, fd)) for fd in os.listdir("/proc/%d/fd" % process.pid)}
        listening = re.findall(r" 0A .* (\d+) 1 ", open("/proc/net/tcp").read() + open("/proc/net/tcp6").read())
        assert not {"socket:[%s]" % i for i in listening} & inodes
    seen = status(home)[1][0]
    assert seen["answers"] and seen["url"] == "unix:%s" % path and seen["unix_socket"] == str(path)
    assert "ended in order" in run(home, "stop").stdout
    assert process.wait(10) == 0 and not path.exists()


def test_http_1_0_without_a_host_is_answered_there(start_without_tcp, tmp_path):
    path = tmp_path / "home" / "socket"
    start_without_tcp(path)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(path))
        raw.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        answer = b""
        while part := raw.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"status":"ok"}')


def test_a_killed_servers_socket_is_replaced_and_a_living_ones_is_not(start, start_without_tcp, tmp_path):
    path = tmp_path / "home" / "socket"
    first = start_without_tcp(path)
    first.kill()
    first.wait()
    assert path.is_socket()
    second = start_without_tcp(path)   # no hand was needed
    assert second.poll() is None
    begin = time.monotonic()
    third = run(tmp_path / "other", "skip", "--model", "tiny", "--unix-socket", path, "--no-tcp", timeout=60)
    assert third.returncode == 1 and str(path) in third.stderr.splitlines()[-1], third.stderr
    assert time.monotonic() - begin < 10
    assert answers(path) and second.poll() is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user too")
def test_another_users_process_is_turned_away_even_where_the_modes_let_it_in(start_without_tcp):
    with tempfile.TemporaryDirectory(dir="/tmp") as place:   # pytest's own directories let nobody in
        turn_away(Path(place) / "socket", start_without_tcp)


def turn_away(path, start_without_tcp):
    start_without_tcp(path)
    path.chmod(0o777)
    path.parent.chmod(0o777)
    probe = ("import os, socket, sys\nos.setgid(65534); os.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\n"
             "s.connect(sys.argv[1])\ntry:\n s.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n'); print(len(s.recv(100)))\n"
             "except ConnectionError: print(0)\n")
    done = subprocess.run([sys.executable, "-c", probe, path], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done
    assert answers(path)


@pytest.mark.parametrize("arguments,word", [
    (["--no-tcp"], "--unix-socket"),
    (["--unix-socket", "/tmp/pensieve-test-socket"], "0700"),
    (["--unix-socket", "/" + "x" * 200], "bytes"),
])
def test_a_socket_that_cannot_be_is_one_sentence(arguments, word, tmp_path):
    done = run(tmp_path, "skip", "--model", "tiny", "--port", "0", *arguments, timeout=60)
    told = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(told) == 1 and word in told[0], done.stderr


def test_a_second_signal_number_is_not_needed(start, tmp_path):
    """SIGTERM by hand and `stop` at the same time end a server once, in order."""
    home = tmp_path / "home"
    server = start(home=home)
    server.signal(signal.SIGTERM)
    done = run(home, "stop")
    assert done.returncode == 0, done
    assert server.wait() in (0, 143)
