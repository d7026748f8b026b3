"""A program that takes the memory away, for real: server and hog in a control group of 5 GiB. By hand, as root:
PENSIEVE_PRESSURE_RUNS=20 tests/run -k real_pressure. Each run goes down level by level, is refused, comes back
without a restart, and ends the server for want of memory; the kernel must never have to kill anyone."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pensieve import endless, eventually, user
from test_memory_levels import level, refusal

RUNS = int(os.environ.get("PENSIEVE_PRESSURE_RUNS", 0))
if RUNS == 0:
    pytest.skip("by hand: PENSIEVE_PRESSURE_RUNS", allow_module_level=True)

GIB, CHUNK = 1 << 30, 32 << 20
LIMIT = 5 * GIB
HOG = """
import mmap, sys
chunks, ones = [], b"1" * %d
for line in sys.stdin:
    while len(chunks) < int(line):
        chunk = mmap.mmap(-1, len(ones))
        chunk[:] = ones
        chunks.append(chunk)
    while len(chunks) > int(line):
        chunks.pop().close()
    print("done", flush=True)
""" % CHUNK


class Group:
    """A control group of its own, of whichever version this machine has."""

    def __init__(self):
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self.place = Path("/sys/fs/cgroup" if v2 else "/sys/fs/cgroup/memory") / ("pensieve-test-%d" % os.getpid())
        try:
            self.place.mkdir()
            (self.place / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(LIMIT))
        except OSError as refused:
            pytest.skip("no control group can be made: %s" % refused)
        self.usage = self.place / ("memory.current" if v2 else "memory.usage_in_bytes")
        self.events = self.place / ("memory.events" if v2 else "memory.oom_control")

    def join(self, pid):
        (self.place / "cgroup.procs").write_text(str(pid))

    def kills(self):
        return sum(int(line.split()[1]) for line in self.events.read_text().splitlines() if line.startswith("oom_kill "))


class Hog:
    def __init__(self, group):
        self.process = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        group.join(self.process.pid)

    def take(self, n_bytes):
        self.process.stdin.write("%d\n" % (n_bytes // CHUNK))
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n", "the hog was killed"

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)


def test_levels_refusals_and_recovery_under_real_pressure(start, tmp_path, tell):
    group = Group()
    seen, back, gone = [], [], []
    for run in range(RUNS):
        server = start(home=tmp_path / "home")
        group.join(server.pid)
        hog = Hog(group)
        eventually(lambda: server.get("/health").json["memory"]["source"].startswith("cgroup"), 5, "the group is read")
        memory = server.get("/health").json["memory"]
        used = int(group.usage.read_text())
        assert abs(memory["available_bytes"] - (LIMIT - used)) < 100_000_000
        room = memory["room_bytes"]
        body = user("count to three", max_tokens=8)
        text = server.post(body).text
        for wanted, left in (("caution", 5 * GIB // 2), ("warning", 3 * GIB // 2), ("critical", 7 * GIB // 8)):
            hog.take(room - left)
            seen.append(eventually(lambda w=wanted: level(server) == w, 5, wanted))
            answer = server.post(body)
            if wanted == "critical":
                refusal(answer)
            else:
                assert answer.status == 200 and answer.text == text
        assert server.get("/v1/models").status == 200
        hog.take(0)
        back.append(eventually(lambda: level(server) == "safe", 15, "safe"))
        assert server.post(body).text == text, "the same process, as before"
        streams = [server.stream(endless(n)) for n in range(2)]
        for stream in streams:
            stream.until("content_block_delta")
        hog.take(server.get("/health").json["memory"]["available_bytes"] - GIB // 4)
        gone.append(eventually(lambda: server.process.poll() is not None, 5, "the end"))
        assert server.process.returncode == 1
        for stream in streams:
            assert [name for name, _ in stream][-1] == "error"
        last = json.loads((tmp_path / "home" / "emergency.log").read_text().splitlines()[-1])
        assert last["seq"] == run + 1 and last["source"].startswith("cgroup") and last["available_bytes"] <= GIB // 2
        assert group.kills() == 0
        hog.end()
    group.place.rmdir()
    tell("%d runs: levels seen after at most %.2f s, safe again after %.2f s, ended after at most %.2f s, kills: 0",
         RUNS, max(seen), max(back), max(gone))
