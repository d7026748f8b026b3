"""The log in a file: who may read it, what is never in it, how it rotates, and a disk that is full."""
import json
import stat

from pensieve import Collected, eventually, request, run, user

TOKEN = "sk-canary-0123456789abcdef"
PROMPT = "canary prompt 4711"
HOSTILE = 'canary" level=error forged="1'


def lines_of(*files):
    """Every line of the files, the oldest first, each an object with what all of them have."""
    lines = [json.loads(line) for f in files for line in f.read_text().splitlines()]
    assert all(set(line) >= {"time", "level", "message"} for line in lines)
    return lines


def test_it_is_the_users_alone_and_has_no_secrets(start, tmp_path):
    log = tmp_path / "pensieve.log"
    server = start("--log-format", "json", "--log-level", "debug", log_file=log, token=TOKEN)
    body = user(PROMPT, max_tokens=8, system=PROMPT)
    plain = server.post(body)
    stream = server.stream(user(PROMPT, max_tokens=8))
    stream_id = stream.response.headers["request-id"]
    streamed = Collected(stream)
    wrong = request(server.port, "POST", "/v1/messages", body, token="canary-wrong-token")
    broken = server.post(b'{"messages": [{"role": "user", "content": "canary"}')
    odd = server.get("/v1/models/nothing", headers={"x-claude-code-session-id": HOSTILE})
    assert [plain.status, wrong.status, broken.status, odd.status] == [200, 401, 400, 404]
    metrics, status = server.get("/metrics").body.decode(), server.get("/v1/pensieve/status").body.decode()
    eventually(lambda: log.read_text().count("request answered") >= 2, 10, "two lines")
    server.stop()

    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text() + server.log + metrics + status
    assert TOKEN not in text and "canary-wrong-token" not in text
    assert PROMPT not in text and "forged" not in text, text
    for answer in (wrong, broken):
        assert TOKEN not in answer.body.decode() and PROMPT not in answer.body.decode()
    command_line = b" ".join(str(a).encode() for a in server.process.args)
    assert TOKEN.encode() not in command_line

    lines = {line.get("request_id"): line for line in lines_of(log) if line["message"].startswith("request ")}
    used = plain.json["usage"]
    line = lines[plain.headers["request-id"]]
    assert line["message"] == "request answered" and line["status"] == 200 and line["level"] == "info"
    assert line["prompt_tokens"] == used["input_tokens"] + used["cache_read_input_tokens"]
    assert line["output_tokens"] == used["output_tokens"]
    assert 0 <= line["queue_s"] + line["prefill_s"] <= line["duration_s"] + 0.002
    assert lines[stream_id]["output_tokens"] == streamed.usage["output_tokens"]
    assert lines[wrong.headers["request-id"]]["message"] == "request refused"
    assert lines[broken.headers["request-id"]]["status"] == 400


def test_it_rotates(start, tmp_path):
    log = tmp_path / "pensieve.log"
    server = start("--log-file-size", "4KiB", "--log-files", "3", "--log-format", "json", "--log-level", "debug",
                   log_file=log)
    for _ in range(60):
        assert server.get("/v1/models").status == 200
    server.stop()
    files = [tmp_path / ("pensieve.log" + end) for end in (".2", ".1", "")]
    assert sorted(f.name for f in tmp_path.glob("pensieve.log*")) == sorted(f.name for f in files)
    assert all(f.stat().st_size <= 4096 and stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    lines = lines_of(*files)
    assert lines[-1]["message"] == "done" and [x["time"] for x in lines] == sorted(x["time"] for x in lines)


def test_a_full_disk_does_not_stop_the_server(start, small_disk):
    disk = small_disk(64 * 1024)
    server = start("--log-format", "json", "--log-level", "debug", log_file=disk / "log")
    (disk / "filler").write_bytes(b"x" * 40 * 1024)
    sent = 0
    while "request answered" not in server.log:  # what the disk does not take goes to standard error
        assert server.get("/v1/models").status == 200 and sent < 500
        sent += 1
    (disk / "filler").unlink()
    assert server.post(user("hello", max_tokens=4)).status == 200
    server.stop()
    messages = [line["message"] for line in lines_of(disk / "log")]
    assert any("lines went to standard error" in m for m in messages) and messages[-1] == "done"


def test_a_path_that_cannot_be_used_ends_the_start(tmp_path):
    done = run(tmp_path / "home", "skip", "--model", "tiny", "--port", "0", "--log-file", tmp_path / "no" / "log")
    assert done.returncode == 2
    assert done.stderr == "pensieve: the log file %s cannot be used: No such file or directory\n" % (tmp_path / "no" / "log")
