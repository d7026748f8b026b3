"""A model that cannot be loaded because the system refuses something ends the program with one sentence
and exit status 2. Which calls may fail, one by one, is tests/load_faults_test.cpp; here it is the real
binary, with the C library's calls failing from some point of the load on."""
import subprocess

import pytest

import faults
from pensieve import BINARY, ROOT, TINY, environment, run

FIXTURES = ROOT / "tests" / "fixtures"
MODELS = [(FIXTURES / "phi3" / "gguf" / "q4_0.gguf", "q4_0.gguf"),
          (TINY / "pensieve-tiny-q4_0.gguf", "pensieve-tiny-q4_0.gguf"),
          (TINY / "mlx", "config.json")]
POINTS = {"malloc": [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610],
          "mmap": [0, 1], "read": [0, 1], "open": [0, 1, 2]}


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    return faults.library(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("path,first_file", MODELS, ids=lambda value: getattr(value, "name", None))
def test_what_the_system_refuses_while_a_model_loads_is_told_in_one_sentence(tmp_path, preload, path, first_file):
    refused = 0
    fault = faults.Faults(preload, tmp_path / "control")
    for call, points in POINTS.items():
        for point in points:
            fault.arm(call, point, persistent=True, trigger=first_file)
            env = {**environment(tmp_path), **fault.env}
            ended = subprocess.run([BINARY, "model", "inspect", path], env=env, stdin=subprocess.DEVNULL,
                                   capture_output=True, text=True, timeout=60)
            if ended.returncode == 0:
                continue   # the load was over before
            assert ended.returncode in (1, 2), (call, point, ended)
            refused += ended.returncode == 2   # 1: it was loaded, and then there was no memory to say so
            lines = ended.stderr.strip().split("\n")
            assert len(lines) == 1 and lines[0].startswith("pensieve: "), (call, point, ended.stderr)
    assert refused >= 4
    assert run(tmp_path, "model", "inspect", path).returncode == 0
