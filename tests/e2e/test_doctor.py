"""`pensieve doctor`: each thing that can be wrong is really made wrong, and has to be found, named and
given a way out; and nothing else may be complained of."""
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from claude_code import VERSIONS
from pensieve import BINARY, TINY, environment

SUBJECTS = ["cpu", "memory", "home", "token", "secrets", "disk", "port", "model", "claude"]


class Patient:
    """A home directory, a PATH with a client in it, and a free port."""

    def __init__(self, place):
        self.home, self.bin = place / "home", place / "bin"
        self.home.mkdir(mode=0o700)
        self.bin.mkdir()
        self.client("echo '%s (Claude Code)'" % VERSIONS[0])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.env = {**environment(self.home, token=None), "PATH": "%s:/usr/bin:/bin" % self.bin}
        self.token = self.home / "token"
        self.token.write_text("0123456789abcdef0123456789abcdef\n")
        self.token.chmod(0o600)

    def client(self, script):
        path = self.bin / "claude"
        path.write_text("#!/bin/sh\n" + script + "\n")
        path.chmod(0o755)

    def doctor(self, *args, model="tiny", env=None):
        """-> exit status, {subject: finding}"""
        command = [BINARY, "doctor", "--json", "--port", str(self.port), *args]
        if model:
            command += ["--model", str(model)]
        done = subprocess.run(command, env={**self.env, **(env or {})}, capture_output=True, text=True,
                              timeout=120, stdin=subprocess.DEVNULL)
        told = json.loads(done.stdout)
        found = {finding["check"]: finding for finding in told["checks"]}
        assert told["healthy"] == (done.returncode == 0) == all(f["verdict"] != "fail" for f in found.values())
        for finding in found.values():
            assert ("advice" in finding) == (finding["verdict"] != "ok"), finding
        return done.returncode, found

    def finds(self, subject, verdict, *words, **options):
        """Exactly this is wrong; memory and disk are as the machine that runs the test is."""
        code, found = self.doctor(*options.pop("args", []), **options)
        finding = found[subject]
        assert finding["verdict"] == verdict, found
        text = finding["text"] + " " + finding.get("advice", "")
        for word in words:
            assert str(word) in text, finding
        assert code == 1 if verdict == "fail" else True
        for other in set(found) - {subject, "memory", "disk"}:
            assert found[other]["verdict"] == "ok", found[other]
        return finding


@pytest.fixture
def patient(tmp_path):
    return Patient(tmp_path)


def test_a_healthy_installation_is_called_so_and_nothing_is_changed(patient):
    before = {p: p.stat() for p in patient.home.rglob("*")}
    code, found = patient.doctor()
    assert list(found) == SUBJECTS
    for subject in set(SUBJECTS) - {"memory", "disk"}:
        assert found[subject]["verdict"] == "ok", found[subject]
    assert "kernels" in found["cpu"]["text"] and "free" in found["port"]["text"]
    assert {p: p.stat().st_mode for p in patient.home.rglob("*")} == {p: s.st_mode for p, s in before.items()}
    text = subprocess.run([BINARY, "doctor", "--port", str(patient.port), "--model", "tiny"], env=patient.env,
                          capture_output=True, text=True, timeout=120)
    assert text.returncode == code and len(text.stdout.splitlines()) >= len(SUBJECTS)


def test_a_home_that_is_not_made_yet_is_fine_and_stays_unmade(patient, tmp_path):
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(tmp_path / "not" / "yet")})
    for subject in ("home", "token", "secrets"):
        assert found[subject]["verdict"] == "ok" and ("not made yet" in found[subject]["text"]
                                                      or "none is needed" in found[subject]["text"])
    assert not (tmp_path / "not").exists()
    with socket.socket() as taken:   # asking who has the port needs a token, and makes none
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        patient.port = taken.getsockname()[1]
        patient.doctor(env={"PENSIEVE_HOME": str(tmp_path / "not" / "yet")})
    assert not (tmp_path / "not").exists()


def test_modes_that_let_others_in(patient):
    patient.token.chmod(0o644)
    patient.finds("token", "fail", "chmod 600", "0644")
    assert patient.token.stat().st_mode & 0o777 == 0o644   # it looks and changes nothing
    patient.token.chmod(0o600)
    patient.home.chmod(0o755)
    patient.finds("home", "fail", "chmod 700", "0755")
    assert patient.home.stat().st_mode & 0o777 == 0o755
    patient.home.chmod(0o700)
    secrets = patient.home / "service.env"
    secrets.write_text("PENSIEVE_UPSTREAM_KEY=x\n")
    secrets.chmod(0o640)
    patient.finds("secrets", "fail", "chmod 600")


def test_tokens_that_are_none(patient):
    patient.token.write_text("two words\n")
    patient.finds("token", "fail", "remove the file")
    patient.token.unlink()
    patient.token.symlink_to("/etc/hostname")
    patient.finds("token", "fail", "link")
    patient.token.unlink()
    patient.token.mkdir()
    patient.finds("token", "fail", "not a regular file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_another_user(patient):
    os.chown(patient.token, 65534, 65534)
    patient.finds("token", "fail", "another user")
    os.chown(patient.token, 0, 0)
    os.chown(patient.home, 65534, 65534)
    patient.finds("home", "fail", "another user")


def test_a_home_that_is_a_file(patient, tmp_path):
    (tmp_path / "file").write_text("")
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(tmp_path / "file")})
    assert found["home"]["verdict"] == "fail"


def test_a_port_that_another_program_has(patient):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        patient.port = taken.getsockname()[1]
        patient.finds("port", "fail", "another program", "--port", patient.port)
    patient.finds("port", "ok", "free")


def test_a_port_that_is_ours(patient, start):
    token = patient.token.read_text().strip()
    server = start(home=patient.home, token=token)
    patient.port = server.port
    patient.finds("port", "ok", "this installation", server.pid)
    # Another home directory with another token: to that one it is a stranger.
    other = Patient.__new__(Patient)
    (patient.home.parent / "other").mkdir()
    other.__init__(patient.home.parent / "other")
    other.port = server.port
    other.token.write_text("another-token-0123456789\n")
    other.finds("port", "fail", "another program")
    # One of ours that does not answer.
    server.process.send_signal(19)   # SIGSTOP
    try:
        patient.finds("port", "warn", "does not answer", "pensieve stop")
    finally:
        server.process.send_signal(18)
    server.stop()


def test_models_that_are_not_whole(patient, tmp_path):
    whole = (TINY / "pensieve-tiny-q4_0.gguf").read_bytes()
    model = tmp_path / "model.gguf"
    model.write_bytes(whole)
    patient.finds("model", "ok", "model.gguf", model=model)
    model.write_bytes(whole[:len(whole) // 2])
    patient.finds("model", "fail", "model.gguf", model=model)
    model.unlink()
    patient.finds("model", "fail", model=model)
    patient.finds("model", "fail", "no-such-model", model="no-such-model")
    patient.finds("model", "warn", "pensieve model pull", model=None)   # the default one, not fetched


def test_a_model_of_the_store_by_size_and_by_digest(patient, tmp_path):
    subprocess.run([BINARY, "model", "import", str(TINY / "pensieve-tiny-q4_0.gguf"), "--name", "mine"],
                   env=patient.env, check=True, capture_output=True)
    patient.finds("model", "ok", model="mine")
    patient.finds("model", "ok", "every digest right", model="mine", args=["--deep"])
    file = next((patient.home / "models" / "mine").glob("*.gguf"))
    times, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    patient.finds("model", "ok", model="mine")   # length and time are right: a quick look sees no more
    patient.finds("model", "fail", "pull --force", model="mine", args=["--deep"])
    os.truncate(file, len(data) // 2)
    patient.finds("model", "fail", model="mine")


def test_clients_that_are_missing_old_new_or_mute(patient):
    assert set(VERSIONS) == {"2.1.329", "2.1.197"}   # doctor_checks.h names the same two
    for version in VERSIONS:
        patient.client("echo '%s (Claude Code)'" % version)
        patient.finds("claude", "ok", *VERSIONS)
    patient.client("echo '2.1.99 (Claude Code)'")
    patient.finds("claude", "warn", "older", "npm install")
    patient.client("echo '10.0.0 (Claude Code)'")
    patient.finds("claude", "ok", "newer")
    for mute in ("exit 1", "echo hello", "true"):
        patient.client(mute)
        patient.finds("claude", "warn", "version")
    (patient.bin / "claude").unlink()
    patient.finds("claude", "warn", "not installed", "npm install")


def test_a_disk_with_little_room(patient, small_disk):
    place = small_disk(64 << 20)
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(place / "home")})
    assert found["disk"]["verdict"] == "fail" and "PENSIEVE_HOME" in found["disk"]["advice"]
    place = small_disk(1 << 30)
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(place / "home")})
    assert found["disk"]["verdict"] == "warn"


def test_a_disk_that_cannot_be_written(patient, small_disk):
    place = small_disk(8 << 30)
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(place / "home")})
    assert found["disk"]["verdict"] == "ok", found["disk"]
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    _, found = patient.doctor(env={"PENSIEVE_HOME": str(place / "home")})
    assert found["disk"]["verdict"] == "fail" and "cannot be written" in found["disk"]["text"]


def group_of_our_own(limit):
    """A memory control group with this limit -> how to enter it, and how to remove it; v1 or v2."""
    for place, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(place) / ("pensieve-doctor-%d" % os.getpid())
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit))
            return group
        except OSError:
            group.rmdir()
    pytest.skip("no control group may be made here")


def test_a_control_group_that_leaves_little(patient):
    group = group_of_our_own(256 << 20)
    try:
        script = "echo $$ > %s/cgroup.procs && exec %s doctor --json --port %d --model tiny" % (
            group, BINARY, patient.port)
        done = subprocess.run(["sh", "-c", script], env=patient.env, capture_output=True, text=True, timeout=120)
        found = {f["check"]: f for f in json.loads(done.stdout)["checks"]}
        if found["memory"]["verdict"] == "ok" and "memory" in str(group):
            pytest.skip("control groups of version 1 are not read")
        assert found["memory"]["verdict"] == "fail" and "control group" in found["memory"]["text"], found["memory"]
        assert "memory.max" in found["memory"]["advice"] and done.returncode == 1
    finally:
        group.rmdir()


def test_the_network_is_asked_only_on_request(patient, hub):
    origin = hub(b"weights")
    env = {"PENSIEVE_HUB_URL": origin.url}
    _, found = patient.doctor(env=env)
    assert "hub" not in found and not origin.requests
    _, found = patient.doctor("--network", env=env)
    assert found["hub"]["verdict"] == "ok" and origin.requests
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        code, found = patient.doctor("--network", env={"PENSIEVE_HUB_URL": "http://127.0.0.1:%d" % nobody.getsockname()[1]})
    assert code == 1 and found["hub"]["verdict"] == "fail" and "does not answer" in found["hub"]["text"]
