"""The embedded model against its reference: same ids for every prompt, same greedy text."""
import json

import pytest

from pensieve import Collected, reference_cases, run

CASES = reference_cases()
SHORT = [c for c in CASES if len(c["ids"]) <= 600]
LONG = [c for c in CASES if len(c["ids"]) > 600]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_trace_until_encode_prints_the_reference_ids(case, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(case["request"]))
    done = run(tmp_path, "trace", "--until=encode", "--model", "tiny", path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == case["ids"]


@pytest.mark.parametrize("case", SHORT + LONG, ids=lambda c: c["name"])
def test_the_greedy_answer_is_the_reference_text(server, case):
    """Streamed; the end token is sampled but not given out, so it does not count."""
    got = Collected(server.stream(case["request"]))
    assert got.text == case["text"]
    assert got.stop_reason == "end_turn"
    assert got.usage["output_tokens"] == len(case["greedy"]) - 1
