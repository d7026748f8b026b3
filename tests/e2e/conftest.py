"""Fixtures of the whole-server tests."""
import subprocess

import pytest

from hub_origin import Hub
from model_store import repository
from pensieve import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for a module's tests. It must end in order when they are done."""
    s = Server(tmp_path_factory.mktemp("home"))
    yield s
    s.stop()


@pytest.fixture
def start(tmp_path):
    """start(...) gives a server of the test's own; whatever still runs at the end is killed."""
    started = []

    def begin(*args, **options):
        s = Server(options.pop("home", tmp_path / ("home%d" % len(started))), *args, **options)
        started.append(s)
        return s
    yield begin
    for s in started:
        s.kill()


@pytest.fixture
def hub(request):
    """hub(weights, script) gives an origin of models; all of them end with the test."""
    made = []

    def make(weights=b"", script=None, files=None, **options):
        made.append(Hub(files or repository(weights), script=script, **options))
        return made[-1]
    yield make
    for h in made:
        h.close()


@pytest.fixture
def tell(capsys):
    """Prints a line that is seen although the test passes: what was counted."""
    def line(text, *values):
        with capsys.disabled():
            print("\n  " + text % values, end="", flush=True)
    return line


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(bytes) gives a file system of that size: a tmpfs of its own."""
    mounted = []

    def make(n_bytes):
        place = tmp_path / ("disk%d" % len(mounted))
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=%d" % n_bytes, "pensieve-test", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip("no file system may be mounted here: " + done.stderr.strip())
        mounted.append(place)
        return place
    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)
