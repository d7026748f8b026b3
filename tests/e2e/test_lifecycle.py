"""Start, end, and the faults in between: signals, a port in use, a bad model, the token."""
import http.client
import os
import signal
import socket
import stat
import time

import pytest

from pensieve import TINY, TOKEN, Collected, at_once, endless, request, run, user


def test_an_idle_server_ends_at_once_on_SIGTERM_and_SIGINT(start):
    for number in (signal.SIGTERM, signal.SIGINT):
        server = start()
        server.signal(number)
        begin = time.monotonic()
        assert server.wait(30) == 0, server.log
        assert time.monotonic() - begin < 5  # one second, and the leak check of a sanitizer build


def test_running_streams_finish_when_the_server_drains(start):
    server = start()
    streams = [server.stream(user("count to 12")) for _ in range(4)]
    for s in streams:
        s.until("message_start")
    server.signal()
    ends = at_once([lambda s=s: [name for name, _ in s][-1] for s in streams])
    assert ends == ["message_stop"] * 4
    assert server.wait() == 0, server.log


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
