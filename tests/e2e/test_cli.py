"""The command line: ask, trace, model inspect, version, help."""
import json
import re
import shutil
import subprocess
import sys

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


@pytest.mark.parametrize("command", [[], ["ask"], ["trace"], ["model"], ["model", "inspect"], ["version"], ["status"], ["stop"], ["doctor"],
                                     ["service"], ["service", "install"]],
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
    (ROOT / "tests/fixtures/phi3/gguf-sharded", ["in 3 files", "small-00002-of-00003.gguf", "Q4_0"]),
    (ROOT / "tests/fixtures/phi3/mlx3-g64-mixed", ["MLX 3-bit g64", "BF16"]),
], ids=["gguf", "mlx", "fixture", "shards", "three bits"])
def test_model_inspect_prints_fields_and_tensors(path, needles, tmp_path):
    done = run(tmp_path, "model", "inspect", path)
    assert done.returncode == 0, done.stderr
    for needle in needles:
        assert needle in done.stdout, needle


def test_a_missing_file_of_several_is_named_in_one_sentence(tmp_path):
    for part in sorted((ROOT / "tests/fixtures/phi3/gguf-sharded").glob("*.gguf"))[:2]:
        shutil.copy(part, tmp_path)
    for path in (tmp_path, tmp_path / "small-00001-of-00003.gguf"):
        done = run(tmp_path, "ask", "--model", path, "hello")
        assert done.returncode == 2 and not done.stdout
        assert "small-00003-of-00003.gguf is missing" in done.stderr and done.stderr.count("\n") == 1


def test_plain_weights_become_8_bits_when_asked_and_stay_when_not(tmp_path):
    model = tmp_path / "plain.gguf"
    subprocess.run([sys.executable, ROOT / "tools/make_synthetic_gguf.py", model, "--preset", "tiny", "--type", "bf16",
                    "--layers", "1", "--hidden", "64", "--ffn", "64", "--heads", "2", "--kv-heads", "2", "--vocab-from",
                    TINY / "pensieve-tiny-q4_0.gguf"], check=True, capture_output=True)
    answers = {}
    for weights in ("auto", "as-is", "q8"):
        done = run(tmp_path, "ask", "--model", model, "--weights", weights, "--max-tokens", "8", "--log-level", "info",
                   "hello")
        assert done.returncode == 0, done.stderr
        assert ("BF16 matrices became Q8_0" in done.stderr) == (weights == "q8"), done.stderr
        answers[weights] = done.stdout
    assert answers["auto"] == answers["as-is"]  # a small model stays as it is


def test_the_mlx_twin_answers_as_the_embedded_model(tmp_path):
    question = "list the files in src"
    answers = [run(tmp_path, "ask", "--model", m, question) for m in ("tiny", TINY / "mlx")]
    assert all(a.returncode == 0 for a in answers), [a.stderr for a in answers]
    assert answers[0].stdout == answers[1].stdout


def test_bench_measures_what_it_was_asked_for(tmp_path):
    arguments = ["bench", "--model", "tiny", "--prompt", "32", "--generate", "2", "--depth", "0,64", "--batch", "1,2",
                 "--repeat", "2", "--threads", "2"]
    done = run(tmp_path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["test"], line["tokens"], line["depth"], line["batch"]) for line in lines] == [
        ("prefill", 32, 0, 1), ("decode", 2, 0, 1), ("decode", 2, 0, 2),
        ("prefill", 32, 64, 1), ("decode", 2, 64, 1), ("decode", 2, 64, 2)]
    for line in lines:
        assert set(line) == {"test", "tokens", "depth", "batch", "threads", "kv", "tokens_per_second", "samples"}
        assert line["threads"] == 2 and line["kv"] == "f16" and len(line["samples"]) == 2
        assert min(line["samples"]) <= line["tokens_per_second"] <= max(line["samples"])
    table = run(tmp_path, *arguments)
    assert table.returncode == 0 and "GB/s" in table.stdout and len(table.stdout.splitlines()) == 5 + len(lines)


def test_bench_beyond_the_model_says_so(tmp_path):
    done = run(tmp_path, "bench", "--model", "tiny", "--depth", "131072")
    assert done.returncode == 2 and "131,584" in done.stderr and "131,072" in done.stderr
