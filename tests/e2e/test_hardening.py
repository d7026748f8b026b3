"""What keeps a fault in the server from becoming more than a fault: how the binary is built, what its
process may do, and who can read its files. Source: RELIABILITY, case 71."""
import functools
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pensieve import BINARY, SANITIZED, Collected, Server, request, user

if sys.platform != "linux":
    pytest.skip("reads ELF and /proc", allow_module_level=True)

BINARY_BYTES = Path(BINARY).read_bytes()
hardened = pytest.mark.skipif(SANITIZED, reason="a sanitizer build is not hardened")


def readelf(*options):
    return subprocess.run(["readelf", "-W", *options, BINARY], capture_output=True, text=True, check=True).stdout


@functools.lru_cache
def segments():
    """(type, flags, offset, address, bytes in the file) of each program header."""
    found = re.findall(r"^  (\w+) +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+) 0x[0-9a-f]+ ([RWE ]{3}) 0x",
                       readelf("-l"), re.M)
    return [(kind, flags.strip().replace(" ", ""), int(offset, 16), int(address, 16), int(size, 16))
            for kind, offset, address, size, flags in found]


@hardened
def test_it_is_position_independent():
    assert re.search(r"Type: +DYN", readelf("-h"))
    assert any(kind == "INTERP" for kind, *_ in segments())


@hardened
def test_relocations_are_read_only_before_main():
    assert any(kind == "GNU_RELRO" for kind, *_ in segments())
    dynamic = readelf("-d")
    assert "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*NOW", dynamic)
    assert "TEXTREL" not in dynamic and "RPATH" not in dynamic and "RUNPATH" not in dynamic


@hardened
def test_nothing_is_writable_and_executable_and_code_has_pages_of_its_own():
    loaded = [flags for kind, flags, *_ in segments() if kind == "LOAD"]
    assert len(loaded) >= 4 and all(not ("W" in flags and "E" in flags) for flags in loaded), loaded
    # Code apart from read-only data: no header, no string and no embedded model is executable.
    assert loaded.count("RE") == 1 and "R" in loaded, loaded
    stacks = [flags for kind, flags, *_ in segments() if kind == "GNU_STACK"]
    assert stacks == ["RW"]


@hardened
def test_stack_and_libc_calls_are_guarded():
    imported = set(re.findall(r"UND (\w+)@", readelf("--dyn-syms")))
    assert "__stack_chk_fail" in imported
    fortified = {name for name in imported if name.startswith("__") and name.endswith("_chk")}
    assert {"__memcpy_chk", "__fprintf_chk", "__snprintf_chk"} & fortified and len(fortified) >= 3, fortified


def code_of(address, n):
    for kind, flags, offset, start, size in segments():
        if kind == "LOAD" and "E" in flags and start <= address < start + size:
            at = offset + address - start
            return BINARY_BYTES[at:at + n]
    return b""


@hardened
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="reads x86-64 code")
def test_functions_begin_with_a_landing_pad_and_large_frames_are_probed():
    # Number, address, size, type, binding, visibility, section, name.
    symbols = [fields for line in readelf("-s").splitlines() if len(fields := line.split()) == 8]
    ours = [(int(f[1], 16), f[7]) for f in symbols
            if f[3] == "FUNC" and f[4] in ("GLOBAL", "WEAK") and f[6] != "UND" and "pensieve" in f[7]]
    assert len(ours) > 500
    bare = [name for address, name in ours if code_of(address, 4) != b"\xf3\x0f\x1e\xfa"]   # endbr64
    assert len(bare) <= len(ours) // 100, bare[:20]
    # orq $0,(%rsp): how GCC touches each page of a frame that is larger than one.
    code = next(BINARY_BYTES[o:o + n] for kind, flags, o, _, n in segments() if kind == "LOAD" and "E" in flags)
    assert code.count(b"\x48\x83\x0c\x24\x00") >= 1


# ---- the process

def use(server):
    """One of everything that a client may ask for."""
    assert server.post(user("hello", max_tokens=16)).status == 200
    assert Collected(server.stream(user("count to 5"))).ended == "message_stop"
    gone = server.stream(user("count to 40", max_tokens=500))
    gone.until("content_block_delta")
    gone.close()
    assert server.post(user("hello"), "/v1/messages/count_tokens").status == 200
    chat = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
    assert server.post(chat, "/v1/chat/completions").status == 200
    for path in ("/health", "/metrics", "/v1/models", "/"):
        assert server.get(path).status == 200
    assert server.get("/nowhere").status == 404
    assert request(server.port, "GET", "/v1/models").status == 401


@hardened
def test_no_memory_is_writable_and_executable_while_it_serves(start):
    server = start()
    use(server)
    maps = Path("/proc/%d/maps" % server.pid).read_text()
    assert maps.count("\n") > 20
    assert not [line for line in maps.splitlines() if re.search(r" [r-]wx", line)]
    server.stop()


def test_a_server_starts_no_process_and_calls_nobody(tmp_path):
    """The whole life of a server under strace: threads, but no child, no other program, and no
    connection that it opened itself."""
    if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"]).returncode != 0:
        pytest.skip("needs strace, and the right to trace")
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    wrapper = tmp_path / "traced"
    wrapper.write_text("#!/bin/sh\nexec strace -f -qq -o %s -e trace=%s -e signal=none %s \"$@\"\n" % (
        trace, "execve,execveat,fork,vfork,clone,clone3,connect,socket", BINARY))
    wrapper.chmod(0o755)
    import pensieve
    before, pensieve.BINARY = pensieve.BINARY, str(wrapper)
    try:
        server = Server(home, env={"ASAN_OPTIONS": "detect_leaks=0"})
    finally:
        pensieve.BINARY = before
    use(server)
    traced = int(re.match(r"(\d+)", trace.read_text()).group(1))
    os.kill(traced, signal.SIGTERM)
    assert server.wait() == 0, server.log
    lines = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    programs = [line for line in lines if line.startswith(("execve(", "execveat("))]
    assert len(programs) == 1, programs   # its own start
    children = [line for line in lines if line.startswith(("fork(", "vfork(", "clone(", "clone3("))
                and "CLONE_THREAD" not in line]
    assert not children, children
    assert [line for line in lines if "CLONE_THREAD" in line], "the trace saw nothing"
    assert not [line for line in lines if line.startswith("connect(")]
    sockets = [line for line in lines if line.startswith("socket(")]
    assert len(sockets) == 1 and "AF_INET, SOCK_STREAM" in sockets[0], sockets   # the one it listens on


def test_its_files_are_its_users_alone_under_any_umask(tmp_path):
    home = tmp_path / "home"
    socket = home / "socket"
    before = os.umask(0)
    try:
        server = Server(home, "--unix-socket", socket, token=None)
    finally:
        os.umask(before)
    server.token = (home / "token").read_text().strip()
    # Over 64 tokens, so that a page of keys and values goes to the disk.
    assert server.post(user("list the files in src " * 40, max_tokens=4)).status == 200
    record = home / "servers" / ("%d.json" % server.pid)
    assert socket.is_socket() and record.exists()
    modes = check_modes(home, server)
    assert modes
    server.stop()
    assert len(check_modes(home, server)) >= 3   # what it wrote on its way out, too


def check_modes(home, server):
    seen = {}
    for directory, _, names in os.walk(home):
        for path in [Path(directory), *(Path(directory) / name for name in names)]:
            if path == server.output:   # made by this test
                continue
            mode = path.lstat().st_mode
            seen[path] = stat.S_IMODE(mode)
            assert seen[path] == (0o700 if stat.S_ISDIR(mode) else 0o600), (path, oct(mode))
    return seen
