#!/usr/bin/env python3
"""Make the q8-reference.json of some folders in tests/fixtures: what plain weights as Q8_0 answer.

The `gguf` package quantises the matrices of the folder's model to Q8_0 and reads them back, and
Hugging Face transformers computes the logits of those weights, for the cases of reference.json. The
embedding stays as it is unless it is the output matrix too. Prints how far these logits are from the
ones of the plain weights: what the rounding is worth in these models.

  /tmp/fixtures/bin/python tools/reference/make_q8_references.py [FOLDER ...]
"""
import argparse
import glob
import json
import os

import gguf
import numpy as np
import torch
from make_phi3_fixtures import about, distance, write_json
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "fixtures")
FOLDERS = ["phi3/mha", "phi3/partial-tied", "phi3/safetensors-sharded", "families/llama", "families/qwen2",
           "families/qwen3"]
Q8_0 = gguf.GGMLQuantizationType.Q8_0


def rounded(name, w, tied):
    if w.ndim != 2 or (name == "model.embed_tokens.weight" and not tied):
        return w
    blocks = gguf.quants.quantize(w.numpy(), Q8_0)
    return torch.from_numpy(gguf.quants.dequantize(blocks, Q8_0).astype(np.float32).reshape(w.shape))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folders", nargs="*", metavar="FOLDER", default=FOLDERS)
    torch.set_num_threads(1)
    for name in ap.parse_args().folders:
        folder = os.path.join(ROOT, name)
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        state = {}
        for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
            state.update(load_file(path))
        state = {k: rounded(k, w.float(), config.tie_word_embeddings) for k, w in state.items()}
        if config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        model.load_state_dict(state)
        with open(os.path.join(folder, "reference.json"), encoding="utf-8") as f:
            cases = json.load(f)["cases"]
        off = 0
        for case in cases:
            assert case["rope"] == "short", "the factors would have to be chosen for every case"
            with torch.no_grad():
                logits = model(torch.tensor([case["ids"]]), use_cache=False).logits[0].numpy()
            plain, case["logits"] = case["logits"], [logits[p].tolist() for p in case["positions"]]
            off = max(off, *(distance(np.array(a), np.array(b)) for a, b in zip(plain, case["logits"])))
        write_json(os.path.join(folder, "q8-reference.json"),
                   {**about("Logits of the matrices as Q8_0; see tools/reference."), "cases": cases})
        print("%-25s %.1e from the logits of the plain weights" % (name, off))


if __name__ == "__main__":
    main()
