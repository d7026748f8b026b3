"""`pensieve service` under a real systemd: a user manager of the test's own, in a mount name space where
/run is empty, so that nothing of this machine's is touched. And what an init system hears, at a socket
of the test's own."""
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from pensieve import BINARY, TINY, Server, environment, eventually, request, run

RUN = "/run/user/0"


class Manager:
    """systemd --user for one home directory."""

    def __init__(self, home):
        self.home = home
        self.env = {**environment(home, token=None), "XDG_RUNTIME_DIR": RUN, "PATH": "/usr/bin:/bin"}
        self.env.pop("XDG_CONFIG_HOME", None)
        self.log = open(home / "systemd.log", "wb")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             "mount -t tmpfs none /run && mkdir -p /run/systemd/system %s && chmod 700 %s && "
             "exec /usr/lib/systemd/systemd --user --log-target=console" % (RUN, RUN)],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        eventually(lambda: self.process.poll() is not None or self.systemctl("is-system-running").stdout
                   in ("running\n", "degraded\n"), 30, "a user manager")
        assert self.process.poll() is None

    def inside(self, *command):
        return subprocess.run(["nsenter", "--mount", "--target", str(self.process.pid), *map(str, command)],
                              env=self.env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    def systemctl(self, *words):
        return self.inside("systemctl", "--user", *words)

    def pensieve(self, *words):
        return self.inside(BINARY, *words)

    def show(self, name):
        return self.systemctl("show", "pensieve.service", "--value", "--property", name).stdout.strip()

    def pid(self):
        return int(self.show("MainPID"))

    def drop_in(self, text):
        """Shorter times than a user would want."""
        place = self.home / ".config/systemd/user/pensieve.service.d"
        place.mkdir(parents=True, exist_ok=True)
        (place / "test.conf").write_text("[Service]\n" + text)
        self.systemctl("daemon-reload")

    def close(self):
        self.systemctl("stop", "pensieve.service")
        self.systemctl("exit")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("unshare") or not os.path.exists("/usr/lib/systemd/systemd"):
        pytest.skip("needs root, unshare and systemd")
    home = tmp_path_factory.mktemp("home of a user") / "100% $HOME"   # words that a unit has to quote
    home.mkdir(mode=0o700)
    try:
        one = Manager(home)
    except AssertionError as error:
        pytest.skip("no user manager can run here: %s %s" % (error, (home / "systemd.log").read_text()[-300:]))
    yield one
    one.close()


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def alive(port):
    try:
        return request(port, "GET", "/health").status == 200
    except OSError:
        return False


def test_install_starts_it_with_the_options_given(manager, port):
    model = manager.home / 'my "best" model.gguf'
    shutil.copy(TINY / "pensieve-tiny-q4_0.gguf", model)
    assert manager.pensieve("service", "status").returncode == 2   # not installed
    done = manager.pensieve("service", "install", "skip", "--model", model, "--port", port, "--context", "2048")
    assert done.returncode == 0, done.stderr + manager.systemctl("status", "pensieve").stdout
    assert "login" in done.stdout
    token = (manager.home / "token").read_text().strip()
    health = request(port, "GET", "/health", token=token).json
    assert health["context_length"] == 2048 and health["pid"] == manager.pid()
    command = Path("/proc/%d/cmdline" % manager.pid()).read_text().split("\0")[1:-1]
    assert command == ["skip", "--model", str(model), "--port", str(port), "--context", "2048"]
    assert manager.show("StatusText") == "Serving at http://127.0.0.1:%d" % port
    assert manager.show("UnitFileState") == "enabled"
    shown = manager.pensieve("service", "status")
    assert shown.returncode == 0 and "active (running)" in shown.stdout
    assert "process %d" % manager.pid() in manager.pensieve("status").stdout


def test_systemd_finds_nothing_to_complain_of_in_the_unit(manager):
    unit = manager.home / ".config/systemd/user/pensieve.service"
    done = manager.inside("systemd-analyze", "--user", "verify", unit)
    assert done.returncode == 0 and "pensieve" not in done.stdout + done.stderr, done


def test_it_comes_back_when_it_was_killed(manager, port):
    manager.drop_in("RestartSec=100ms\n")
    before = manager.pid()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: manager.pid() not in (0, before) and alive(port), 60, "another server")
    assert manager.show("NRestarts") == "1"


def test_the_watchdog_ends_one_that_is_stuck(manager, port):
    manager.drop_in("RestartSec=100ms\nWatchdogSec=500ms\nTimeoutAbortSec=200ms\n")
    assert manager.pensieve("service", "restart").returncode == 0
    stuck = manager.pid()
    time.sleep(1.3)
    assert manager.pid() == stuck   # it says that it is alive
    os.kill(stuck, signal.SIGSTOP)
    eventually(lambda: manager.pid() not in (0, stuck) and alive(port), 60, "another server")


def test_stop_start_and_a_stop_by_hand(manager, port):
    assert manager.pensieve("service", "stop").returncode == 0
    assert manager.show("Result") == "success" and not alive(port)
    assert manager.pensieve("service", "status").returncode == 3
    secrets = manager.home / "service.env"
    secrets.write_text("PENSIEVE_TOKEN=a-token-of-the-secrets-file\n")
    secrets.chmod(0o600)
    assert manager.pensieve("service", "start").returncode == 0
    assert request(port, "GET", "/v1/models", token="a-token-of-the-secrets-file").status == 200
    secrets.unlink()
    assert "ended in order" in manager.pensieve("stop").stdout   # an end in order is not undone
    time.sleep(0.5)
    assert manager.show("ActiveState") == "inactive"


def test_a_model_that_cannot_be_read_is_not_tried_for_ever(manager, port):
    (manager.home / 'my "best" model.gguf').write_text("no model")
    done = manager.pensieve("service", "start")
    assert done.returncode != 0
    time.sleep(0.5)
    assert manager.show("ActiveState") == "failed" and manager.show("ExecMainStatus") == "2"


def test_options_that_no_server_takes_install_nothing(manager):
    unit = manager.home / ".config/systemd/user/pensieve.service"
    before = unit.read_text()
    for words in (["--prot", "1"], ["ask", "hello"], ["force"], ["--no-tcp"]):
        done = manager.pensieve("service", "install", *words)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done
    assert unit.read_text() == before


def test_uninstall_leaves_no_unit_and_no_server(manager, port):
    assert manager.pensieve("service", "uninstall").returncode == 0
    assert not (manager.home / ".config/systemd/user/pensieve.service").exists()
    assert not list((manager.home / ".config/systemd/user").rglob("pensieve.service"))
    assert not alive(port) and (manager.home / "token").exists()
    assert manager.pensieve("service", "uninstall").returncode == 2


def test_without_systemd_it_says_what_to_do_instead(tmp_path):
    tmp_path.joinpath("home").mkdir()
    env = {**environment(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)}
    env.pop("DBUS_SESSION_BUS_ADDRESS", None)
    for action in ("install", "start", "status", "uninstall"):
        done = subprocess.run([BINARY, "service", action], env=env, capture_output=True, text=True, timeout=60)
        told = done.stderr.strip().splitlines()
        assert done.returncode == 1 and len(told) == 1, done
        assert "nohup pensieve &" in told[0] and "pensieve claude" in told[0]
    assert not (tmp_path / "home" / "models").exists()   # nothing was fetched for nothing


def test_what_an_init_system_hears(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as init:
        init.bind(address)
        init.settimeout(60)
        server = Server(tmp_path / "home", env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"})
        heard = [init.recv(1000).decode()]
        while "READY=1" not in heard:
            heard.append(init.recv(1000).decode())
        assert heard[0].startswith("STATUS=") and "WATCHDOG=1" not in heard
        begin, pings = time.monotonic(), 0
        while pings < 5:
            pings += init.recv(1000) == b"WATCHDOG=1"
        assert time.monotonic() - begin > 0.3   # every 100 ms, not all at once
        server.signal()
        while (last := init.recv(1000)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"
        assert server.wait() == 0
