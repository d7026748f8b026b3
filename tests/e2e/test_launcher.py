"""`pensieve claude`: finds or starts a server, tells the client about it and nobody else, and leaves
everything as it was. A small script named `claude` records what it was given; where it matters the
real client runs."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from claude_code import SMALL_TOOLS, VERSIONS, clean_environment, client, skip_onboarding, told
from pensieve import BINARY, ROOT, eventually, request
from terminal import Terminal

RECORDING_CLIENT = """#!/bin/sh
env -0 > "$RECORD/$$.env"
[ $# = 0 ] || printf '%s\\0' "$@" > "$RECORD/$$.args"
while [ $# -gt 0 ]; do
  [ "$1" = --settings ] && cp "$2" "$RECORD/$$.settings"
  shift
done
eval "${THEN:-}"
"""


def state_letter(pid):
    """Of a process: "T" stopped, "Z" ended but not yet collected; None when there is none."""
    try:
        return Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Desk:
    """A user's machine: a home, a PATH with a client in it, a project directory."""

    def __init__(self, place):
        self.home, self.bin, self.record = place / "home", place / "bin", place / "record"
        self.project = place / "project"
        for directory in (self.home, self.bin, self.record, self.project):
            directory.mkdir()
        self.pensieve_home = self.home / ".pensieve-local-llm-server"
        self.environment = {**clean_environment(self.home), "PATH": "%s:/usr/bin:/bin" % self.bin,
                            "RECORD": str(self.record)}
        self.install(RECORDING_CLIENT)

    def install(self, script):
        (self.bin / "claude").write_text(script)
        (self.bin / "claude").chmod(0o755)

    def install_real(self, version):
        (self.bin / "claude").unlink()
        (self.bin / "claude").symlink_to(client(version))

    def command(self, *args, port=0):
        return [BINARY, "claude", "--model", "tiny", "--port", str(port), *map(str, args)]

    def launch(self, *args, port=0, stdin="", **variables):
        return subprocess.run(self.command(*args, port=port), cwd=self.project, input=stdin, text=True,
                              capture_output=True, timeout=120, env={**self.environment, **variables})

    @property
    def state(self):
        return json.loads((self.pensieve_home / "server.json").read_text())

    @property
    def token(self):
        return (self.pensieve_home / "token").read_text().strip()

    def recorded(self, kind):
        """What the clients were given, one list of fields each."""
        return [p.read_text().split("\0")[:-1] for p in sorted(self.record.glob("*." + kind))]

    def end_server(self):
        if (self.pensieve_home / "server.json").exists():
            pid = self.state["pid"]
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: state_letter(pid) in (None, "Z"), 30, "the server ends")


def variables(fields):
    return dict(field.split("=", 1) for field in fields)


def files_of(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def desk(tmp_path):
    d = Desk(tmp_path)
    yield d
    d.end_server()


SHELLS_OWN = {"PWD", "OLDPWD", "SHLVL", "_"}  # what /bin/sh puts into the recorded environment


def test_the_client_gets_what_it_needs_and_nothing_else(desk):
    elsewhere = {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": "https://gateway.example",
                 "CLAUDE_CODE_USE_BEDROCK": "1", "CLAUDE_CODE_USE_VERTEX": "1", "ANTHROPIC_CUSTOM_HEADERS": "a: b"}
    kept = {"EDITOR": "vi", "ODD": "a b\nc", "HTTPS_PROXY": "http://proxy.example:3128"}
    done = desk.launch("-p", "a b", "", "$HOME;*", **elsewhere, **kept)
    assert done.returncode == 0, done.stderr
    given, = desk.recorded("env")
    url = "http://127.0.0.1:%d" % desk.state["port"]
    health = request(desk.state["port"], "GET", "/health", token=desk.token).json
    expected = {**desk.environment, **kept, **told(url, health["context_length"], desk.token, health["model"]),
                "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
                "API_TIMEOUT_MS": "3600000", "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "3600000"}
    got = {k: v for k, v in variables(given).items() if k not in SHELLS_OWN}
    assert got == expected
    arguments, = desk.recorded("args")
    settings = arguments.pop(3)
    assert arguments == ["--permission-mode", "default", "--settings", "-p", "a b", "", "$HOME;*"]
    assert not Path(settings).exists(), "the settings of a session end with it"
    env = json.loads(next(desk.record.glob("*.settings")).read_text())["env"]
    assert env["ANTHROPIC_BASE_URL"] == url and env["CLAUDE_CODE_USE_BEDROCK"] == ""


def test_the_server_is_started_once_and_found_again(desk):
    first = desk.launch()
    state = desk.state
    assert first.returncode == 0 and str(state["pid"]) in first.stderr and "pensieve stop" in first.stderr, first.stderr
    assert state["url"] == "http://127.0.0.1:%d" % state["port"]
    for name in ("server.json", "server.log", "token"):
        assert stat.S_IMODE((desk.pensieve_home / name).stat().st_mode) == 0o600, name
    assert "is ready" in (desk.pensieve_home / "server.log").read_text()
    second = desk.launch()
    assert second.returncode == 0 and desk.state == state
    assert "runs in the background" not in second.stderr
    assert "keeps its options" in second.stderr, "--model was given and cannot count"
    begin = Path("/proc/%d/stat" % state["pid"]).read_text().rsplit(")", 1)[1].split()
    assert int(begin[3]) == state["pid"], "a session of its own"
    desk.end_server()
    assert not (desk.pensieve_home / "server.json").exists()
    assert desk.launch().returncode == 0
    assert desk.state["pid"] != state["pid"]


def test_a_server_in_a_terminal_is_used_as_it_is(desk, start):
    server = start(home=desk.pensieve_home, token=None)
    done = desk.launch(port=server.port)
    assert done.returncode == 0, done.stderr
    assert not (desk.pensieve_home / "server.json").exists()
    given, = desk.recorded("env")
    assert variables(given)["ANTHROPIC_BASE_URL"] == server.url
    server.stop()


def test_many_at_once_start_one_server(desk):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        all_done = list(pool.map(lambda _: desk.launch(), range(4)))
    assert [d.returncode for d in all_done] == [0] * 4, [d.stderr for d in all_done]
    assert sum("runs in the background" in d.stderr for d in all_done) == 1
    urls = {variables(given)["ANTHROPIC_BASE_URL"] for given in desk.recorded("env")}
    assert urls == {"http://127.0.0.1:%d" % desk.state["port"]}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}",
                                    b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["http", "ssh"])
def test_another_program_on_the_port_keeps_it_and_learns_no_token(desk, answer):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    heard.append(connection.recv(65536))
                    connection.sendall(answer)
        threading.Thread(target=serve, daemon=True).start()
        taken = listener.getsockname()[1]
        done = desk.launch(port=taken)
        assert done.returncode == 0 and "belongs to another program" in done.stderr, done.stderr
        state = desk.state
        assert state["port"] != taken
        assert desk.launch(port=taken).returncode == 0
        assert desk.state == state, "remembered"
        listener.shutdown(socket.SHUT_RDWR)
    assert heard and desk.token.encode() not in b"".join(heard)


def test_a_server_with_another_token_is_another_program(desk, start):
    stranger = start()
    done = desk.launch(port=stranger.port)
    assert done.returncode == 0 and "belongs to another program" in done.stderr
    assert desk.state["port"] != stranger.port
    assert desk.token not in stranger.log


def test_a_stale_state_file_does_not_mislead(desk):
    desk.pensieve_home.mkdir(mode=0o700)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for text in (json.dumps({"port": port, "pid": os.getpid()}), "{", ""):
        (desk.pensieve_home / "server.json").write_text(text)
        assert desk.launch().returncode == 0
        assert desk.state["port"] != port and desk.state["pid"] != os.getpid()
        desk.end_server()


def test_the_status_is_the_clients(desk):
    assert desk.launch(THEN="exit 37").returncode == 37
    assert desk.launch(THEN="kill -TERM $$").returncode == 143
    assert desk.launch(THEN="kill -KILL $$").returncode == 137
    assert desk.launch(THEN="cat", stdin="from a pipe").stdout == "from a pipe"


def test_without_a_client_it_says_how_to_get_one(desk):
    (desk.bin / "claude").unlink()
    done = desk.launch()
    assert done.returncode == 127
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not desk.pensieve_home.exists(), "and starts nothing"


def test_a_server_that_cannot_start_is_one_sentence_with_the_reason(desk):
    command = [BINARY, "claude", "--port", "0", "--model", str(desk.home / "nothing.gguf")]
    done = subprocess.run(command, env=desk.environment, cwd=desk.project, text=True, capture_output=True, timeout=60)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "nothing.gguf" in last and "server.log" in last, done.stderr
    assert not list(desk.record.iterdir())


def test_the_server_ends_by_itself_when_nobody_uses_it(start, tmp_path):
    state = tmp_path / "state.json"
    server = start("--exit-when-idle", "0.02", "--state-file", state)  # minutes
    begin = time.monotonic()
    while time.monotonic() - begin < 2.5:  # in use, longer than it would stay alone
        assert server.get("/health").status == 200
        time.sleep(0.2)
    assert json.loads(state.read_text()) == {"url": server.url, "port": server.port, "pid": server.pid}
    begin = time.monotonic()
    assert server.wait(60) == 0, server.log
    assert time.monotonic() - begin > 0.6
    assert "nobody has used" in server.log and not state.exists()


# ---- the terminal
def test_control_c_is_the_clients_and_the_server_lives_on(desk):
    script = "trap 'echo interrupted' INT; echo started; while :; do read line && break; done; exit 5"
    terminal = Terminal(desk.command(), desk.project, {**desk.environment, "THEN": script})
    terminal.until("started")
    for _ in range(3):
        terminal.type("\x03")
        terminal.until("interrupted")
    terminal.type("quit\n")
    assert terminal.status() == 5
    assert request(desk.state["port"], "GET", "/health", token=desk.token).status == 200


def test_control_z_stops_both_and_both_go_on(desk):
    terminal = Terminal(desk.command(), desk.project, {
        **desk.environment, "THEN": "echo started $$; kill -STOP $$; echo again; exit 6"})
    terminal.until("started")
    eventually(lambda: state_letter(terminal.pid) == "T", 10, "the launcher is stopped with its client")
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until("again")
    assert terminal.status() == 6


def test_a_request_to_end_goes_to_the_client(desk):
    running = subprocess.Popen(
        desk.command(), cwd=desk.project, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**desk.environment, "THEN": "trap 'exit 9' TERM; echo started; while :; do sleep 0.05; done"})
    assert running.stdout.readline() == "started\n"
    running.terminate()
    assert running.wait(30) == 9
    running.stdout.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interactive_session_of_the_real_client(version, desk):
    desk.install_real(version)
    skip_onboarding(desk.home, desk.project)
    terminal = Terminal(desk.command("--bare", "--tools", "Bash"), desk.project, desk.environment)
    terminal.until("❯")
    terminal.enter("hello")
    transcripts = desk.home / ".claude" / "projects"
    eventually(lambda: any("Hello!" in p.read_text() for p in transcripts.glob("*/*.jsonl")), 60, "the answer",
               terminal.read)
    terminal.type("\x03")  # the client asks for a second one before it leaves
    terminal.enter("/exit")
    assert terminal.status() == 0
    assert request(desk.state["port"], "GET", "/health", token=desk.token).status == 200


# ---- isolation
def test_two_terminals_one_local_one_not(desk):
    """A session without the launcher beside one with it: same home, same moment."""
    user_files = {".claude.json": b'{"theme": "dark"}\n', ".claude/settings.json": b'{"env": {"X": "1"}}\n',
                  ".claude/CLAUDE.md": b"Be kind.\n", ".bashrc": b"export A=1\n"}
    for name, data in user_files.items():
        (desk.home / name).parent.mkdir(exist_ok=True)
        (desk.home / name).write_bytes(data)
    meet = desk.record / "meet"
    wait = ': > "$RECORD/$$.here"; while [ ! -e %s ]; do sleep 0.02; done' % meet
    own = {"ANTHROPIC_API_KEY": "sk-ant-mine", "ANTHROPIC_MODEL": "claude-mine", "THEN": wait}
    env = {**desk.environment, **own}
    local = subprocess.Popen(desk.command("-p", "local"), env=env, cwd=desk.project, stderr=subprocess.DEVNULL)
    plain = subprocess.Popen([str(desk.bin / "claude"), "-p", "plain"], env=env, cwd=desk.project)
    eventually(lambda: len(list(desk.record.glob("*.here"))) == 2, 60, "both clients run")
    meet.touch()
    assert local.wait(30) == 0 and plain.wait(30) == 0
    by_prompt = {a[-1]: variables(e) for a, e in zip(desk.recorded("args"), desk.recorded("env"))}
    got = {k: v for k, v in by_prompt["plain"].items() if k not in SHELLS_OWN}
    assert got == env, "the plain session sees its own variables and no other"
    assert by_prompt["local"]["ANTHROPIC_MODEL"] != "claude-mine" and "ANTHROPIC_API_KEY" not in by_prompt["local"]
    after = {k: v for k, v in files_of(desk.home).items() if not k.startswith(desk.pensieve_home.name)}
    assert after == user_files


def shape(name):
    """A file's name without what differs from run to run: ids, times, process numbers."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{6,}|(?<=[-./_])\d+(?=\.|$)", "N", name)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_real_client_leaves_the_same_files_with_and_without_the_launcher(version, desk, tmp_path):
    desk.install_real(version)
    settings = b'{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "CLAUDE_CODE_USE_BEDROCK": "1"}}\n'
    (desk.home / ".claude").mkdir()
    (desk.home / ".claude/settings.json").write_bytes(settings)
    arguments = ["--bare", "-p", "hello", *SMALL_TOOLS]
    done = desk.launch(*arguments, HTTP_PROXY="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0 and done.stdout.strip(), (
        "settings and proxies that lead elsewhere do not count: %s%s" % (done.stdout, done.stderr))
    with_launcher = files_of(desk.home)
    assert with_launcher[".claude/settings.json"] == settings

    plain = tmp_path / "plain"
    (plain / ".claude").mkdir(parents=True)
    (plain / ".claude/settings.json").write_bytes(b"{}\n")
    port = desk.state["port"]
    window = request(port, "GET", "/health", token=desk.token).json["context_length"]
    by_hand = subprocess.run(
        [str(desk.bin / "claude"), "--permission-mode", "default", *arguments], cwd=desk.project, text=True,
        input="", capture_output=True, timeout=120,
        env={**desk.environment, "HOME": str(plain), **told("http://127.0.0.1:%d" % port, window, desk.token)})
    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    ours = {shape(n) for n in with_launcher if not n.startswith(desk.pensieve_home.name)}
    assert ours == {shape(n) for n in files_of(plain)}
    own = [n.split("/", 1)[1] for n in with_launcher if n.startswith(desk.pensieve_home.name)]
    assert sorted(n for n in own if not n.startswith("kv/")) == [
        "emergency.log", "server.json", "server.lock", "server.log", "servers/%d.json" % desk.state["pid"], "token"]


# ---- scripts/claude-local
def test_claude_local_runs_the_repositorys_binary_from_anywhere(tmp_path):
    """The script in a repository whose ./run only tells what it was asked."""
    repository = tmp_path / "a repository"
    (repository / "scripts").mkdir(parents=True)
    script = repository / "scripts/claude-local"
    script.write_bytes((ROOT / "scripts/claude-local").read_bytes())
    script.chmod(0o755)
    (repository / "run").write_text("#!/bin/sh\npwd\nprintf '%s|' \"$@\"\nexit 3\n")
    (repository / "run").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude-local").symlink_to("../link")
    (tmp_path / "link").symlink_to(script)
    for way in (script, tmp_path / "bin/claude-local"):
        done = subprocess.run([str(way), "-p", "a b", ""], cwd=tmp_path / "bin", text=True, capture_output=True)
        assert done.stdout == "%s\nclaude|-p|a b||" % (tmp_path / "bin") and done.returncode == 3, done.stderr
    assert os.access(ROOT / "scripts/claude-local", os.X_OK)
