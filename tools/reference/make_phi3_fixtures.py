#!/usr/bin/env python3
"""Make the Phi-3 fixtures in tests/fixtures/phi3: small random models and what they answer.

Every fixture is a folder with config.json and model.safetensors (f32, Hugging Face names), a
tokenizer.json that only fills the place, and reference.json: token ids, and the logits that Hugging
Face transformers computes for them in f32 with its plain ("eager") attention. Nothing of Pensieve
takes part, so agreement means something.

  python3 -m venv /tmp/fixtures && /tmp/fixtures/bin/pip install -r tools/reference/requirements.txt
  /tmp/fixtures/bin/python tools/reference/make_phi3_fixtures.py [--out tests/fixtures/phi3] [NAME ...]

The seed fixes weights and ids; another torch version may change the last digits of the logits.
"""
import argparse
import json
import math
import os

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import Phi3Config, Phi3ForCausalLM

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FIXTURES = os.path.join(ROOT, "tests", "fixtures", "phi3")


def longrope(half):
    """Factors shaped like the published ones: near 1 for the fast pairs, large for the slow ones."""
    slow = [j / max(half - 1, 1) for j in range(half)]
    return {"type": "longrope", "short_factor": [round(1.0 + 0.8 * s, 6) for s in slow],
            "long_factor": [round(1.05 + 24.0 * s * s, 6) for s in slow]}


# hidden, heads, kv heads, ffn, layers, vocabulary; then what is special; then the prompts: name -> length.
# 150 tokens span three KV pages of 64; the others stand on both sides of a bound.
VARIANTS = {
    "mha": dict(shape=(64, 2, 2, 96, 2, 64), prompts={"one": 1, "short": 7, "pages": 150}),
    "gqa": dict(shape=(96, 3, 1, 64, 2, 64), prompts={"short": 9, "pages": 150}),
    # Up to 64 tokens the short factors apply, behind that the long ones, for every position.
    "longrope": dict(shape=(64, 2, 2, 96, 2, 128), rope=True, original=64,
                     prompts={"short": 40, "short-full": 64, "long": 65, "long-pages": 200}),
    # A token sees itself and 15 before it.
    "window": dict(shape=(64, 2, 2, 96, 2, 64), window=16, prompts={"inside": 16, "beyond": 80, "pages": 150}),
    "head96": dict(shape=(192, 2, 2, 64, 1, 64), rope=True, original=64, prompts={"short": 33, "long": 130}),
    # Half of a head's dimensions are rotated, and the embedding serves as output matrix too.
    "partial-tied": dict(shape=(64, 2, 1, 96, 2, 128), partial=0.5, tied=True, prompts={"short": 12, "pages": 100}),
    # The bases of the quantised fixtures (quantize_fixture.py); not stored themselves.
    "base-plain": dict(shape=(64, 2, 1, 64, 1, 64), stored=False, prompts={"short": 20, "pages": 100}),
    "base32": dict(shape=(128, 2, 1, 128, 1, 64), window=32, stored=False, prompts={"short": 20, "pages": 100}),
    "base256": dict(shape=(256, 4, 1, 256, 1, 64), rope=True, original=64, stored=False,
                    prompts={"short": 24, "long": 100}),
}


def make_config(variant):
    hidden, heads, kv_heads, ffn, layers, vocab = variant["shape"]
    rotated = int(hidden // heads * variant.get("partial", 1.0))
    return Phi3Config(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=256,
        original_max_position_embeddings=variant.get("original", 256), rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling=longrope(rotated // 2) if variant.get("rope") else None,
        partial_rotary_factor=variant.get("partial", 1.0), sliding_window=variant.get("window"),
        tie_word_embeddings=variant.get("tied", False), bos_token_id=1, eos_token_id=2, pad_token_id=0,
        attention_dropout=0.0, torch_dtype="float32", architectures=["Phi3ForCausalLM"])


def make_model(config, seed):
    """Random weights with a peaked attention and logits of a standard deviation near 5, so that a
    wrong position, factor or head changes the answer by far more than rounding does."""
    model = Phi3ForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                w = rng.uniform(0.5, 1.5, p.shape)
            else:
                std = 1.0 / math.sqrt(p.shape[1])
                if "embed_tokens" in name:
                    std = 5.0 / math.sqrt(p.shape[1]) if config.tie_word_embeddings else 1.0
                elif "qkv_proj" in name:
                    std *= 1.6
                elif "lm_head" in name:
                    std *= 5.0
                w = rng.normal(0.0, std, p.shape)
            p.copy_(torch.from_numpy(w.astype(np.float32)))
    return model


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def reference(model, config, prompts, seed):
    rng = np.random.default_rng(seed + 1000)
    cases = []
    for name, length in prompts.items():
        ids = [1] + [int(t) for t in rng.integers(3, config.vocab_size, length - 1)]
        logits = logits_of(model, ids)
        positions = sorted({0, length // 3, min(63, length - 1), min(64, length - 1), 2 * length // 3, length - 1})
        is_long = config.rope_scaling is not None and length > getattr(
            config, "original_max_position_embeddings", length)
        cases.append({"name": name, "rope": "long" if is_long else "short", "ids": ids, "positions": positions,
                      "logits": [[float("%.7g" % x) for x in logits[p]] for p in positions]})
    return cases


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def check_that_it_would_show(name, variant, model, config, cases):
    """The feature a fixture stands for must move its logits; else the fixture proves nothing."""
    def other(**changes):
        altered = Phi3Config.from_dict({**config.to_dict(), **changes})
        twin = Phi3ForCausalLM._from_config(altered, attn_implementation="eager", dtype=torch.float32).eval()
        twin.load_state_dict(model.state_dict())
        return twin
    case = cases[-1]
    last = np.array(case["logits"][-1])
    moved = {}
    if config.sliding_window:
        moved["no window"] = distance(last, logits_of(other(sliding_window=None), case["ids"])[-1])
        moved["window + 1"] = distance(
            last, logits_of(other(sliding_window=config.sliding_window + 1), case["ids"])[-1])
    if config.rope_scaling:
        swapped = {"type": "longrope", "short_factor": config.rope_scaling["long_factor"],
                   "long_factor": config.rope_scaling["short_factor"]}
        moved["factors swapped"] = distance(last, logits_of(other(rope_scaling=swapped), case["ids"])[-1])
        moved["no scaling"] = distance(last, logits_of(other(rope_scaling=None), case["ids"])[-1])
    if variant.get("partial"):
        moved["all rotated"] = distance(last, logits_of(other(partial_rotary_factor=1.0), case["ids"])[-1])
    for what, d in moved.items():
        assert d > 1e-2, "%s: '%s' moves the logits by only %g" % (name, what, d)
    return moved


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, indent=None if "reference" in path else 2) + "\n")


def write_common(folder, config, extra=None):
    """config.json as the Hugging Face hub has it, and a tokenizer.json of the vocabulary's size."""
    os.makedirs(folder, exist_ok=True)
    keep = ("architectures", "model_type", "attention_bias", "bos_token_id", "eos_token_id", "pad_token_id",
            "hidden_act", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "max_position_embeddings", "original_max_position_embeddings", "rms_norm_eps",
            "rope_theta", "rope_scaling", "partial_rotary_factor", "sliding_window", "tie_word_embeddings",
            "vocab_size")
    values = config.to_dict()
    values = {k: values[k] for k in keep if k in values}
    values["torch_dtype"] = "float32"
    write_json(os.path.join(folder, "config.json"), {**values, **(extra or {})})
    write_json(os.path.join(folder, "tokenizer.json"), tokenizer_json(config.vocab_size))


def vocabulary(size):
    """Pieces without meaning: three control tokens, then distinct ideographs."""
    return ["<unk>", "<s>", "</s>"] + [chr(0x4E00 + i) for i in range(size - 3)]


def tokenizer_json(size):
    tokens = vocabulary(size)
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in range(3)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                      "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []}}


def about(what):
    return {"about": what, "transformers": transformers.__version__, "torch": torch.__version__,
            "attention": "eager", "dtype": "float32"}


def seed_of(name):
    return 100 + list(VARIANTS).index(name)


def build(name):
    """-> variant, config, model of a fixture, always the same."""
    variant = VARIANTS[name]
    config = make_config(variant)
    return variant, config, make_model(config, seed_of(name))


def folder_bytes(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join(VARIANTS))
    ap.add_argument("--out", default=FIXTURES)
    a = ap.parse_args()
    torch.set_num_threads(1)
    for name in a.names or [n for n, v in VARIANTS.items() if v.get("stored", True)]:
        variant, config, model = build(name)
        cases = reference(model, config, variant["prompts"], seed_of(name))
        moved = check_that_it_would_show(name, variant, model, config, cases)
        folder = os.path.join(a.out, name)
        write_common(folder, config)
        state = {k: v.contiguous() for k, v in model.state_dict().items()
                 if not (config.tie_word_embeddings and k == "lm_head.weight")}
        save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        write_json(os.path.join(folder, "reference.json"),
                   {**about("Logits [positions, vocabulary] of a random model; see tools/reference."),
                    "cases": cases})
        spread = float(np.std(np.array(cases[-1]["logits"])))
        print("%-13s %5.2f MB, logits' standard deviation %.1f; relative change by %s" % (
            name, folder_bytes(folder) / 1e6, spread,
            ", ".join("'%s' %.2f" % m for m in moved.items()) or "nothing special"))


if __name__ == "__main__":
    main()
