"""Fixtures of the whole-server tests."""
import pytest

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
