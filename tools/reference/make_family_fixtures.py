#!/usr/bin/env python3
"""Make the fixtures in tests/fixtures/families: small random Llama, Qwen2 and Qwen3 models.

As make_phi3_fixtures.py, whose helpers it uses: folders with f32 safetensors, and the logits that
Hugging Face transformers computes for them. Most models come as a GGUF file as well, laid out as
llama.cpp's converter does: Llama's rows of q and k in the order of neighbouring rotary pairs, the
factors of llama3 scaling as the tensor rope_freqs.weight. The file's logits are the folder's.

  /tmp/fixtures/bin/python tools/reference/make_family_fixtures.py [--out tests/fixtures/families]
"""
import argparse
import json
import math
import os

import gguf
import numpy as np
import torch
from make_phi3_fixtures import about, distance, reference, tokenizer_json, vocabulary, write_json
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
            "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
VOCAB, CONTEXT = 64, 256
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# family, what is special; heads and KV heads are 2 and 1 unless said.
MODELS = {
    "llama": ("llama", {}),
    "llama-mha-tied": ("llama", dict(num_key_value_heads=2, tie_word_embeddings=True)),
    "llama-llama3": ("llama", dict(num_hidden_layers=1, rope_theta=500.0, rope_scaling=LLAMA3)),
    "llama-linear": ("llama", dict(num_hidden_layers=1, rope_scaling={"rope_type": "linear", "factor": 4.0})),
    "llama-yarn": ("llama", dict(num_hidden_layers=1, rope_scaling=YARN)),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, rope_theta=1000000.0)),
    "qwen2-yarn": ("qwen2", dict(num_hidden_layers=1, rope_scaling=YARN)),
    "qwen3": ("qwen3", dict(head_dim=64, rope_theta=1000000.0)),
}
PROMPTS = {"short": 7, "pages": 150}


def make_config(name):
    family, special = MODELS[name]
    return FAMILIES[family][0](**{**dict(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=CONTEXT, rms_norm_eps=1e-6, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, tie_word_embeddings=False, torch_dtype="float32"), **special})


def make_model(name, config, seed):
    """As for Phi-3: a peaked attention and logits of a standard deviation near 5."""
    model = FAMILIES[MODELS[name][0]][1]._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter, p in model.named_parameters():
            if parameter.endswith(".bias"):
                w = rng.normal(0.0, 1.0, p.shape)
            elif p.dim() == 1:
                w = rng.uniform(0.5, 1.5, p.shape)
            else:
                std = 1.0 / math.sqrt(p.shape[1])
                if "embed_tokens" in parameter:
                    std = 5.0 / math.sqrt(p.shape[1]) if config.tie_word_embeddings else 1.0
                elif "q_proj" in parameter or "k_proj" in parameter:
                    std *= 1.6
                elif "lm_head" in parameter:
                    std *= 5.0
                w = rng.normal(0.0, std, p.shape)
            p.copy_(torch.from_numpy(w.astype(np.float32)))
    return model


def neighbours(w, heads):
    """Rows of pairs (j, j + half) to rows of pairs (2 j, 2 j + 1), head by head."""
    shape = w.shape
    return w.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write_gguf(path, name, config, model):
    family = MODELS[name][0]
    writer = gguf.GGUFWriter(path, family)
    writer.add_name(name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if family == "llama":
        writer.add_rope_dimension_count(head_dim)
    scaling = config.rope_scaling or {}
    kind = scaling.get("rope_type")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR if kind == "linear" else gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        if kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if kind == "llama3":
        plain = config.rope_theta ** (-np.arange(0, head_dim, 2) / head_dim)
        scaled = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    tokens = vocabulary(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    ours = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
            "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
            "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for key, p in model.state_dict().items():
        w = p.numpy()
        if key == "model.embed_tokens.weight":
            writer.add_tensor("token_embd.weight", w)
        elif key == "model.norm.weight":
            writer.add_tensor("output_norm.weight", w)
        elif key == "lm_head.weight":
            if not config.tie_word_embeddings:
                writer.add_tensor("output.weight", w)
        else:
            _, _, layer, *middle, last = key.split(".")
            where = ".".join(middle)
            if family == "llama" and where in ("self_attn.q_proj", "self_attn.k_proj"):
                w = neighbours(w, config.num_attention_heads if "q_" in where else config.num_key_value_heads)
            writer.add_tensor("blk.%s.%s.%s" % (layer, ours[where], last), np.ascontiguousarray(w))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_that_it_would_show(name, config, model, case):
    """Without what is special about it, a model must answer something else."""
    family = MODELS[name][0]
    last = np.array(case["logits"][-1])

    def answer(**changes):
        altered = FAMILIES[family][0].from_dict({**config.to_dict(), **changes})
        twin = FAMILIES[family][1]._from_config(altered, attn_implementation="eager", dtype=torch.float32).eval()
        twin.load_state_dict(model.state_dict())
        return twin

    def logits(twin):
        with torch.no_grad():
            return twin(torch.tensor([case["ids"]]), use_cache=False).logits[0, -1].numpy()
    moved = {}
    if config.rope_scaling:
        moved["no scaling"] = distance(last, logits(answer(rope_scaling=None)))
    if family == "qwen2":
        twin = answer()
        for key, p in twin.named_parameters():
            if key.endswith(".bias"):
                p.data.zero_()
        moved["no biases"] = distance(last, logits(twin))
    if family == "qwen3":
        twin = answer()
        for key, p in twin.named_parameters():
            if "q_norm" in key or "k_norm" in key:
                p.data.fill_(1.0)
        moved["no weights of q and k norms"] = distance(last, logits(twin))
    for what, d in moved.items():
        assert d > 1e-2, "%s: '%s' moves the logits by only %g" % (name, what, d)
    return moved


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join(MODELS))
    ap.add_argument("--out", default=os.path.join(ROOT, "tests", "fixtures", "families"))
    a = ap.parse_args()
    torch.set_num_threads(1)
    os.makedirs(os.path.join(a.out, "gguf"), exist_ok=True)
    for name in a.names or MODELS:
        seed = 500 + list(MODELS).index(name)
        config = make_config(name)
        model = make_model(name, config, seed)
        prompts = reference(model, config, PROMPTS, seed)
        moved = check_that_it_would_show(name, config, model, prompts[-1])
        folder = os.path.join(a.out, name)
        os.makedirs(folder, exist_ok=True)
        values = {k: v for k, v in config.to_dict().items() if v is not None}
        write_json(os.path.join(folder, "config.json"), values)
        write_json(os.path.join(folder, "tokenizer.json"), tokenizer_json(config.vocab_size))
        save_file({k: v.contiguous() for k, v in model.state_dict().items()
                   if not (config.tie_word_embeddings and k == "lm_head.weight")},
                  os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        answers = {**about("Logits [positions, vocabulary] of a random model; see tools/reference."), "cases": prompts}
        write_json(os.path.join(folder, "reference.json"), answers)
        write_gguf(os.path.join(a.out, "gguf", name + ".gguf"), name, config, model)
        print("%-15s logits' standard deviation %.1f; relative change by %s" % (
            name, float(np.std(np.array(prompts[-1]["logits"]))),
            ", ".join("'%s' %.2f" % m for m in moved.items()) or "nothing special"))


if __name__ == "__main__":
    main()
