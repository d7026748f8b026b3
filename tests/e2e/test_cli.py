"""The command line: ask, trace, model inspect, version, help."""
import json
import re

import pytest

from pensieve import ROOT, TINY, run


def test_ask_answers_with_a_command_that_does_it(tmp_path):
    done = run(tmp_path, "ask", "--model", "tiny", "show all files including hidden ones")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\bls\b.*(-\w*a|--all)", done.stdout), done.stdout


def test_ask_without_a_model_or_a_hub_uses_the_embedded_one_and_says_so(tmp_path):
    done = run(tmp_path, "ask", "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Pensieve Tiny" in done.stderr and len(done.stderr.strip().splitlines()) == 2, done.stderr


def test_version_prints_a_version(tmp_path):
    done = run(tmp_path, "version")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize("command", [[], ["ask"], ["trace"], ["model"], ["model", "inspect"], ["version"]],
                         ids=lambda c: " ".join(c) or "pensieve")
def test_help_is_everywhere(command, tmp_path):
    done = run(tmp_path, *command, "--help")
    assert done.returncode == 0 and "--help" in done.stdout


def test_an_unknown_option_is_named(tmp_path):
    done = run(tmp_path, "--no-such-option")
    assert done.returncode == 2 and "no-such-option" in done.stderr


def test_trace_shows_each_step(tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"model": "tiny", "max_tokens": 8, "system": "Be brief.",
                                "messages": [{"role": "user", "content": "hello <|end|>"}]}))

    def trace(step):
        done = run(tmp_path, "trace", "--until=" + step, "--model", "tiny", path)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert "Be brief." in trace("understand")
    rendered = trace("render")
    assert "Be brief." in rendered and "<|system|>" in rendered and "<|assistant|>" in rendered
    ids = json.loads(trace("encode"))
    # The control token that ends a turn stands there twice; the user's text made no third.
    end = next(a for a in json.loads((TINY / "mlx" / "tokenizer.json").read_text())["added_tokens"]
               if a["content"] == "<|end|>")["id"]
    assert ids.count(end) == 2


def test_trace_of_a_bad_request_names_the_field(tmp_path):
    path = tmp_path / "request.json"
    path.write_text('{"model": "tiny", "max_tokens": 8, "messages": [{"role": "nobody", "content": "x"}]}')
    done = run(tmp_path, "trace", "--until=understand", "--model", "tiny", path)
    assert done.returncode != 0 and "messages.0.role" in done.stderr


@pytest.mark.parametrize("path, needles", [
    (TINY / "pensieve-tiny-q4_0.gguf", ["GGUF", "blk.0.attn_qkv.weight", "Q4_0", "phi3"]),
    (TINY / "mlx", ["model.layers.0.self_attn.qkv_proj"]),
    (ROOT / "tests/fixtures/phi3/gguf/q6_k.gguf", ["rope_factors_long.weight", "Q6_K"]),
], ids=["gguf", "mlx", "fixture"])
def test_model_inspect_prints_fields_and_tensors(path, needles, tmp_path):
    done = run(tmp_path, "model", "inspect", path)
    assert done.returncode == 0, done.stderr
    for needle in needles:
        assert needle in done.stdout, needle


def test_the_mlx_twin_answers_as_the_embedded_model(tmp_path):
    question = "list the files in src"
    answers = [run(tmp_path, "ask", "--model", m, question) for m in ("tiny", TINY / "mlx")]
    assert all(a.returncode == 0 for a in answers), [a.stderr for a in answers]
    assert answers[0].stdout == answers[1].stdout
