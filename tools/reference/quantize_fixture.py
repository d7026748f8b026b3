#!/usr/bin/env python3
"""Make the quantised fixtures in tests/fixtures/phi3: GGUF files and MLX folders of small models.

Each holds a quantised model and the logits of its *dequantised* weights, computed by Hugging Face
transformers in f32: what is left between them and an engine is the engine's own rounding.
GGUF blocks are written here or by the `gguf` package, and read back by that package alone, which is
the definition of their meaning; MLX words of 4 and 8 bits are written and read here, by the formula
w = scale * q + bias, those of 2, 3, 5 and 6 bits by MLX.

  /tmp/fixtures/bin/python tools/reference/quantize_fixture.py [--out tests/fixtures/phi3]

  gguf/<type>.gguf, <type>-reference.json  all matrices in one type (32-blocks: base32, with a window;
                                          K types: base256, with LongRoPE factors as tensors)
  mlx4-g32 mlx4-g64 ...                   folders; scales in f16 for groups of 32, bf16 for 64 and
                                          f32 for 128; mlx4-g64-mixed has an 8-bit lm_head, mlx3-g64-mixed
                                          a 6-bit layer and a plain one

  gguf-sharded                            as q4_0, by the gguf package in files of six tensors, behind one
                                          that has none
  safetensors-sharded                     as f16, by transformers in files of 30 KB, with their index

NAMES leave the others as they are.
"""
import argparse
import copy
import glob
import json
import math
import os
import struct

import gguf
import make_phi3_fixtures as phi3
import mlx.core as mx
import numpy as np
import torch

T = gguf.GGMLQuantizationType
GGUF_TYPES = {"f32": ("base-plain", T.F32), "f16": ("base-plain", T.F16), "bf16": ("base-plain", T.BF16),
              "q4_0": ("base32", T.Q4_0), "q4_1": ("base32", T.Q4_1), "q5_0": ("base32", T.Q5_0),
              "q5_1": ("base32", T.Q5_1), "q8_0": ("base32", T.Q8_0), "q2_k": ("base256", T.Q2_K),
              "q3_k": ("base256", T.Q3_K), "q4_k": ("base256", T.Q4_K),
              "q5_k": ("base256", T.Q5_K), "q6_k": ("base256", T.Q6_K)}
MLX_FOLDERS = {"mlx4-g32": (4, 32, "F16", {}), "mlx4-g64": (4, 64, "BF16", {}), "mlx4-g128": (4, 128, "F32", {}),
               "mlx8-g32": (8, 32, "F16", {}), "mlx8-g64": (8, 64, "BF16", {}), "mlx8-g128": (8, 128, "F32", {}),
               "mlx4-g64-mixed": (4, 64, "F16", {"lm_head": (8, 64)}),
               "mlx2-g64": (2, 64, "F16", {}), "mlx3-g32": (3, 32, "BF16", {}), "mlx5-g128": (5, 128, "F32", {}),
               "mlx6-g64": (6, 64, "F16", {}),
               "mlx3-g64-mixed": (3, 64, "BF16", {"lm_head": False, "model.layers.0.mlp.down_proj": (6, 32)})}
SHARDED = ["gguf-sharded", "safetensors-sharded"]


# ---- K blocks: 256 weights each; the gguf package reads them but does not write them
def safe_inverse(x):
    return np.divide(np.float32(1), x, out=np.zeros_like(x), where=x != 0)


def scales_and_minima(x, levels):
    """Eight groups of 32: 6-bit scales and minima, and the two f16 they are multiples of."""
    low = np.minimum(x.min(-1), 0)
    step = (x.max(-1) - low) / np.float32(levels)
    d = (step.max(-1, keepdims=True) / 63).astype(np.float16)
    dmin = ((-low).max(-1, keepdims=True) / 63).astype(np.float16)
    sc = np.clip(np.rint(step * safe_inverse(d.astype(np.float32))), 0, 63).astype(np.uint8)
    m = np.clip(np.rint(-low * safe_inverse(dmin.astype(np.float32))), 0, 63).astype(np.uint8)
    real = d.astype(np.float32) * sc
    q = np.rint((x + (dmin.astype(np.float32) * m)[..., None]) * safe_inverse(real)[..., None])
    packed = np.concatenate([sc[:, :4] | (sc[:, 4:] >> 4) << 6, m[:, :4] | (m[:, 4:] >> 4) << 6,
                             (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4], -1).astype(np.uint8)
    return d.view(np.uint8), dmin.view(np.uint8), packed, np.clip(q, 0, levels).astype(np.uint8)


def quarters(q):
    """[blocks, 256] of two bits -> [blocks, 64]: four columns 32 apart to a byte."""
    q = q.reshape(-1, 2, 4, 32)
    return (q[:, :, 0] | q[:, :, 1] << 2 | q[:, :, 2] << 4 | q[:, :, 3] << 6).reshape(-1, 64)


def q2_k(w):
    x = w.reshape(-1, 16, 16)
    low = np.minimum(x.min(-1), 0)
    step = (x.max(-1) - low) / np.float32(3)
    d = (step.max(-1, keepdims=True) / 15).astype(np.float16)
    dmin = ((-low).max(-1, keepdims=True) / 15).astype(np.float16)
    sc = np.clip(np.rint(step * safe_inverse(d.astype(np.float32))), 0, 15).astype(np.uint8)
    m = np.clip(np.rint(-low * safe_inverse(dmin.astype(np.float32))), 0, 15).astype(np.uint8)
    real = d.astype(np.float32) * sc
    q = np.rint((x + (dmin.astype(np.float32) * m)[..., None]) * safe_inverse(real)[..., None])
    q = np.clip(q, 0, 3).astype(np.uint8)
    return np.concatenate([sc | m << 4, quarters(q), d.view(np.uint8), dmin.view(np.uint8)], -1)


def q3_k(w):
    x = w.reshape(-1, 16, 16)
    top = np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)[..., 0]
    step = top / np.float32(-4)                                    # signed, so that both ends are used
    d = (np.abs(step).max(-1, keepdims=True) / 31).astype(np.float16)
    sc = np.clip(np.rint(step * safe_inverse(d.astype(np.float32))), -32, 31).astype(np.int8)
    real = d.astype(np.float32) * sc
    q = (np.clip(np.rint(x * safe_inverse(real)[..., None]), -4, 3).astype(np.int8) + 4).astype(np.uint8)
    third = np.zeros((len(q), 32), np.uint8)
    for group in range(8):
        third |= (q.reshape(-1, 8, 32)[:, group] >> 2) << group
    s = (sc + 32).astype(np.uint8)
    top2 = (s >> 4).reshape(-1, 4, 4)
    packed = np.concatenate([(s[:, :8] & 15) | (s[:, 8:] & 15) << 4,
                             top2[:, 0] | top2[:, 1] << 2 | top2[:, 2] << 4 | top2[:, 3] << 6], -1)
    return np.concatenate([third, quarters(q & 3), packed, d.view(np.uint8)], -1)


def q4_k(w):
    d, dmin, packed, q = scales_and_minima(w.reshape(-1, 8, 32), 15)
    pairs = q.reshape(-1, 4, 2, 32)
    return np.concatenate([d, dmin, packed, (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)], -1)


def q5_k(w):
    d, dmin, packed, q = scales_and_minima(w.reshape(-1, 8, 32), 31)
    pairs = (q & 15).reshape(-1, 4, 2, 32)
    fifth = np.zeros((len(q), 32), np.uint8)
    for group in range(8):
        fifth |= (q[:, group] >> 4) << group
    return np.concatenate([d, dmin, packed, fifth, (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)], -1)


def q6_k(w):
    x = w.reshape(-1, 16, 16)
    top = np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)[..., 0]
    step = top / np.float32(-32)                                   # signed, so that both ends are used
    d = (np.abs(step).max(-1, keepdims=True) / 127).astype(np.float16)
    sc = np.clip(np.rint(step * safe_inverse(d.astype(np.float32))), -128, 127).astype(np.int8)
    real = d.astype(np.float32) * sc
    q = np.clip(np.rint(x * safe_inverse(real)[..., None]), -32, 31).astype(np.int8) + 32
    q = q.astype(np.uint8).reshape(-1, 2, 4, 32)                   # two halves of four rows of 32
    low, high = q & 15, q >> 4
    ql = np.concatenate([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], -1)
    qh = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return np.concatenate([ql.reshape(-1, 128), qh.reshape(-1, 64), sc.view(np.uint8), d.view(np.uint8)], -1)


K_WRITERS = {T.Q2_K: q2_k, T.Q3_K: q3_k, T.Q4_K: q4_k, T.Q5_K: q5_k, T.Q6_K: q6_k}


def to_blocks(w, kind):
    """[rows, cols] f32 -> [rows, row bytes] uint8"""
    if kind in K_WRITERS:
        return K_WRITERS[kind](np.ascontiguousarray(w)).reshape(w.shape[0], -1)
    return np.ascontiguousarray(gguf.quants.quantize(w, kind)).view(np.uint8).reshape(w.shape[0], -1)


# ---- GGUF files
LAYER_NAMES = {"self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "mlp.gate_up_proj": "ffn_up",
               "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    if name.startswith("model.layers."):
        _, _, layer, part = name[:-len(".weight")].split(".", 3)
        return "blk.%s.%s.weight" % (layer, LAYER_NAMES[part])
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}[name]


def write_gguf(path, config, state, kind, **splitting):
    """-> the dequantised state, as the gguf package reads it back from the file, or the files."""
    w = gguf.GGUFWriter(path, "phi3", **splitting)
    head_dim = config.hidden_size // config.num_attention_heads
    w.add_name("phi3 fixture " + kind.name)
    w.add_context_length(config.max_position_embeddings)
    w.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(config.rope_theta)
    if config.sliding_window:
        w.add_sliding_window(config.sliding_window)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokens = phi3.vocabulary(config.vocab_size)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores([-float(i) for i in range(len(tokens))])
    w.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    if config.rope_scaling:
        trained = config.original_max_position_embeddings
        scale = config.max_position_embeddings / trained
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(trained)))
        for length in ("long", "short"):
            factors = np.array(config.rope_scaling[length + "_factor"], np.float32)
            w.add_tensor("rope_factors_%s.weight" % length, factors)
    for name, value in state.items():
        if value.ndim == 1:
            w.add_tensor(gguf_name(name), value)
        else:
            w.add_tensor(gguf_name(name), to_blocks(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

    paths = sorted(glob.glob(path[:-len(".gguf")] + "-*.gguf")) if splitting else [path]
    stored = {t.name: t for p in paths for t in gguf.GGUFReader(p).tensors}
    back = {}
    for name, value in state.items():
        t = stored[gguf_name(name)]
        back[name] = np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32).reshape(value.shape)
    return back


# ---- MLX folders
def f16_round(x):
    return x.astype(np.float16)


def bf16_round(x):
    """f32 -> the 16 bits of bf16, to nearest, halves to even"""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def narrow(x, kind):
    return {"F16": f16_round, "BF16": bf16_round, "F32": lambda v: v.astype(np.float32)}[kind](x)


def widen(x, kind):
    return (x.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else x.astype(np.float32)


def mlx_quantize(w, bits, group, kind):
    """-> words uint32, scales, biases, dequantised. The end of larger magnitude is hit exactly, so
    scales come out with both signs."""
    g = w.reshape(w.shape[0], -1, group)
    low, high = g.min(-1), g.max(-1)
    top = (1 << bits) - 1
    from_low = np.abs(low) > np.abs(high)
    scales = narrow(np.where(from_low, 1, -1) * np.maximum((high - low) / top, 1e-7).astype(np.float32), kind)
    biases = narrow(np.where(from_low, low, high), kind)
    s, b = widen(scales, kind), widen(biases, kind)
    q = np.clip(np.rint((g - b[..., None]) / s[..., None]), 0, top).astype(np.uint32)
    per_word = 32 // bits
    words = np.zeros((w.shape[0], w.shape[1] // per_word), np.uint32)
    for i in range(per_word):
        words |= q.reshape(w.shape[0], -1, per_word)[..., i] << np.uint32(bits * i)
    return words, scales, biases, (q.astype(np.float32) * s[..., None] + b[..., None]).reshape(w.shape)


def mlx_own(w, bits, group, kind):
    """As mlx_quantize(), by MLX itself, from weights of the type of the scales."""
    dtype = {"F16": mx.float16, "BF16": mx.bfloat16, "F32": mx.float32}[kind]
    words, scales, biases = mx.quantize(mx.array(w).astype(dtype), group_size=group, bits=bits)
    back = mx.dequantize(words, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group, bits=bits)
    stored = [np.array(a.view(mx.uint16)) if kind == "BF16" else np.array(a) for a in (scales, biases)]
    return np.array(words), *stored, np.array(back)


def write_safetensors(path, arrays):
    """arrays: name -> (dtype name, array)"""
    head, at = {"__metadata__": {"format": "mlx"}}, 0
    for name, (kind, a) in arrays.items():
        head[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, a in arrays.values():
            f.write(np.ascontiguousarray(a).tobytes())


def write_mlx(folder, config, state, bits, group, kind, overrides):
    quantization = {"group_size": group, "bits": bits}
    for module, own in overrides.items():
        quantization[module] = {"group_size": own[1], "bits": own[0]} if own else False
    phi3.write_common(folder, config, {"quantization": quantization, "quantization_config": quantization})
    arrays, back = {}, {}
    for name, value in state.items():
        module = name[:-len(".weight")]
        own = overrides.get(module, (bits, group))
        if value.ndim == 1 or not own:
            stored = narrow(value, kind)
            arrays[name], back[name] = (kind, stored), widen(stored, kind)
            continue
        quantize = mlx_quantize if own[0] in (4, 8) else mlx_own
        words, scales, biases, back[name] = quantize(value, *own, kind)
        arrays[name] = ("U32", words)
        arrays[module + ".scales"], arrays[module + ".biases"] = (kind, scales), (kind, biases)
    write_safetensors(os.path.join(folder, "model.safetensors"), arrays)
    return back


# ---- references
def store(path, base, model, config, back, original, what):
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in back.items()})
    cases = phi3.reference(model, config, phi3.VARIANTS[base]["prompts"], phi3.seed_of(base))
    phi3.write_json(path, {**phi3.about("Logits of the dequantised weights, " + what), "cases": cases})
    off = max(phi3.distance(original[n], back[n]) for n in back if back[n].ndim == 2)
    return off


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join([*GGUF_TYPES, *MLX_FOLDERS, *SHARDED]))
    ap.add_argument("--out", default=phi3.FIXTURES)
    a = ap.parse_args()
    torch.set_num_threads(1)
    mx.set_default_device(mx.cpu)
    os.makedirs(os.path.join(a.out, "gguf"), exist_ok=True)
    total = 0
    for name, (base, kind) in GGUF_TYPES.items():
        if a.names and name not in a.names:
            continue
        _, config, model = phi3.build(base)
        original = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        path = os.path.join(a.out, "gguf", name)
        back = write_gguf(path + ".gguf", config, original, kind)
        off = store(path + "-reference.json", base, model, config, back, original, kind.name)
        limit = {T.F32: 0, T.F16: 1e-3, T.BF16: 5e-3, T.Q8_0: 0.01, T.Q6_K: 0.04, T.Q5_0: 0.06, T.Q5_1: 0.05,
                 T.Q5_K: 0.05, T.Q2_K: 0.45, T.Q3_K: 0.25}.get(kind, 0.12)
        assert off <= limit, (name, off)
        print("gguf/%-10s %5.0f KB, weights off by %.4f" % (name, os.path.getsize(path + ".gguf") / 1e3, off))
        total += os.path.getsize(path + ".gguf")
    for name, (bits, group, kind, overrides) in MLX_FOLDERS.items():
        if a.names and name not in a.names:
            continue
        _, config, model = phi3.build("base32")
        original = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        folder = os.path.join(a.out, name)
        back = write_mlx(folder, config, original, bits, group, kind, overrides)
        off = store(os.path.join(folder, "reference.json"), "base32", model, config, back, original, name)
        assert off <= {2: 0.6, 3: 0.3, 4: 0.13, 5: 0.08, 6: 0.04, 8: 0.01}[bits], (name, off)
        print("%-15s %5.0f KB, weights off by %.4f" % (name, phi3.folder_bytes(folder) / 1e3, off))
        total += phi3.folder_bytes(folder)
    if not a.names or "gguf-sharded" in a.names:
        folder = os.path.join(a.out, "gguf-sharded")
        os.makedirs(folder, exist_ok=True)
        _, config, model = phi3.build("base32")
        original = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        back = write_gguf(os.path.join(folder, "small.gguf"), config, original, T.Q4_0, split_max_tensors=6,
                          small_first_shard=True)
        store(os.path.join(folder, "reference.json"), "base32", model, config, back, original, "Q4_0, sharded")
        total += phi3.folder_bytes(folder)
    if not a.names or "safetensors-sharded" in a.names:
        folder = os.path.join(a.out, "safetensors-sharded")
        _, config, model = phi3.build("base-plain")
        original = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        phi3.write_common(folder, config)
        kept = open(os.path.join(folder, "config.json"), encoding="utf-8").read()
        narrow_model = copy.deepcopy(model).half()   # the model itself keeps its rotary frequencies
        narrow_model.save_pretrained(folder, max_shard_size="30KB")
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
            f.write(kept)
        back = {k: v.to(torch.float32).numpy().copy() for k, v in narrow_model.state_dict().items()}
        store(os.path.join(folder, "reference.json"), "base-plain", model, config, back, original, "F16, sharded")
        total += phi3.folder_bytes(folder)
    print("together %.2f MB" % (total / 1e6))


if __name__ == "__main__":
    main()
