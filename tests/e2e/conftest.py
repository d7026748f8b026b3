"""Fixtures of the whole-server tests."""
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
