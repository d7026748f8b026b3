#!/usr/bin/env python3
"""Write an MLX safetensors directory of a phi3-architecture model with random weights.

The twin of make_synthetic_gguf.py: same shapes, same vocabulary, no dependency beyond Python 3.8+, no learnt
content.  All matrices are affine words of 2 to 8 bits with f16 scales and biases, embedding and lm_head included;
norms are f16.  For speed, memory and robustness measurements, never for the quality of an answer.

  make_synthetic_mlx.py out-directory                      Phi-3-mini-128k-instruct shape, 4 bit, groups of 64
  make_synthetic_mlx.py out-directory --preset tiny --bits 8 --group 32
"""
import argparse, json, math, os, random, struct, sys

from make_synthetic_gguf import BELL_BYTES, BELL_STD, PRESETS, TEMPLATE, synthetic_vocab

POOL_BYTES = 4 << 20   # distinct random words, scales and biases, from which tensors are cut at random offsets


class Pool:
    """random words, and groups' scales for a spread of 1; a bias centres its group: half of the codes' range"""
    def __init__(self, bits, seed):
        self.rng, self.bits = random.Random(seed), bits
        words = self.rng.randbytes(POOL_BYTES)
        self.words = words.translate(BELL_BYTES) if bits == 4 else words
        self.scales = {}

    def write_words(self, f, n_bytes):
        self._cut(f, self.words, n_bytes)

    def scale_pools(self, std):
        """f16 scales of both signs, and their biases, 64 KB each"""
        key = round(std, 6)
        if key not in self.scales:
            codes = 1 << self.bits
            unit, middle = (BELL_STD, -8) if self.bits == 4 else (math.sqrt((codes * codes - 1) / 12), (1 - codes) / 2)
            unit = std / unit
            s = [unit * self.rng.uniform(0.8, 1.2) * self.rng.choice((1, 1, 1, -1)) for _ in range(1 << 15)]
            s = struct.unpack("<%de" % len(s), struct.pack("<%de" % len(s), *s))
            pack = lambda v: struct.pack("<%de" % len(v), *v)
            self.scales[key] = pack(s), pack([middle * x for x in s])
        return self.scales[key]

    def _cut(self, f, data, n_bytes):
        while n_bytes:
            at = self.rng.randrange(len(data) // 64) * 64 if n_bytes > len(data) // 2 else 0
            k = min(n_bytes, len(data) - at)
            f.write(memoryview(data)[at:at + k])
            n_bytes -= k


def repeat_to(f, data, n_bytes):
    """scales and biases must stay in step, so both are cut alike: whole pools, then the rest"""
    while n_bytes:
        k = min(n_bytes, len(data))
        f.write(memoryview(data)[:k])
        n_bytes -= k


def write_json(folder, name, value, indent=2):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        f.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def write_tokenizer(folder, vocab, context):
    fields = {k: v for k, _, v in vocab}
    tokens, types = fields["tokenizer.ggml.tokens"][1], fields["tokenizer.ggml.token_type"][1]
    base = len(tokens) - 64
    controls = [i for i, t in enumerate(types) if t in (2, 3)]
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": i >= base, "normalized": False,
              "special": True} for i in controls]
    ids = {t: i for i, t in enumerate(tokens[:base])}
    merges = []
    for piece in tokens[259:base]:                       # by score, every split whose halves are pieces
        splits = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        merges += [list(s) for s in sorted(splits, key=lambda s: (ids.get(s[0], base), ids.get(s[1], base)))
                   if s[0] in ids and s[1] in ids]
    replace = lambda a, b: {"type": "Replace", "pattern": {"String": a}, "content": b}
    write_json(folder, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace(" ", "\u2581")]},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [replace("\u2581", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": ids, "merges": merges}}, None)
    write_json(folder, "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": tokens[base], "unk_token": "<unk>",
        "pad_token": tokens[base], "model_max_length": context, "tokenizer_class": "LlamaTokenizer", "chat_template": TEMPLATE})


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--preset", default="phi3-mini-128k", choices=PRESETS)
    ap.add_argument("--bits", type=int, default=4, choices=(2, 3, 4, 5, 6, 8))
    ap.add_argument("--group", type=int, default=64, choices=(32, 64, 128))
    ap.add_argument("--seed", type=int, default=1)
    for o in ("layers", "hidden", "ffn", "heads", "kv-heads", "vocab", "context", "original-context"):
        ap.add_argument("--" + o, type=int)
    a = ap.parse_args()
    shape = PRESETS[a.preset]
    L, H, F, NH, NKV, V, CTX, OCTX = (getattr(a, o) or shape[i] for i, o in enumerate(
        ("layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "context", "original_context")))
    hd = H // NH
    vocab = synthetic_vocab(V)
    os.makedirs(a.out, exist_ok=True)

    scaling = None
    if CTX > OCTX:   # 1 at the fastest pair, rising to `top` at the slowest
        factors = lambda top: [1 + (top - 1) * (j / (hd // 2 - 1)) ** 2 for j in range(hd // 2)]
        scaling = {"type": "longrope", "short_factor": factors(2.0), "long_factor": factors(CTX / OCTX * 2)}
    quantization = {"group_size": a.group, "bits": a.bits}
    write_json(a.out, "config.json", {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "attention_bias": False, "bos_token_id": 1,
        "eos_token_id": V - 64, "pad_token_id": V - 64, "hidden_act": "silu", "hidden_size": H, "intermediate_size": F,
        "num_hidden_layers": L, "num_attention_heads": NH, "num_key_value_heads": NKV, "max_position_embeddings": CTX,
        "original_max_position_embeddings": OCTX, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": scaling,
        "sliding_window": 2 * CTX, "tie_word_embeddings": False, "torch_dtype": "float16", "vocab_size": V,
        "quantization": quantization, "quantization_config": quantization})
    write_json(a.out, "generation_config.json", {"bos_token_id": 1, "eos_token_id": [V - 64, V - 63, V - 57], "pad_token_id": V - 64})
    write_tokenizer(a.out, vocab, CTX)

    s = lambda fan: 1 / math.sqrt(fan)
    modules = [("model.embed_tokens", V, H, 0.02)]
    for i in range(L):
        p = "model.layers.%d." % i
        modules += [(p + "input_layernorm", 0, H, None), (p + "self_attn.qkv_proj", (NH + 2 * NKV) * hd, H, s(H)),
                    (p + "self_attn.o_proj", H, NH * hd, 0.3 * s(NH * hd)), (p + "post_attention_layernorm", 0, H, None),
                    (p + "mlp.gate_up_proj", 2 * F, H, s(H)), (p + "mlp.down_proj", H, F, 0.3 * s(F))]
    modules += [("model.norm", 0, H, None), ("lm_head", V, H, 2.5 * s(H))]

    head, plan, at = {"__metadata__": {"format": "mlx"}}, [], 0

    def add(name, dtype, dims, kind, std):
        nonlocal at
        n = math.prod(dims) * (4 if dtype == "U32" else 2)
        head[name] = {"dtype": dtype, "shape": dims, "data_offsets": [at, at + n]}
        plan.append((kind, std, n))
        at += n
    for name, rows, cols, std in modules:
        if std is None:
            add(name + ".weight", "F16", [cols], "norm", None)
            continue
        if cols % a.group:
            raise SystemExit("%s: a row of %d is no multiple of the group of %d" % (name, cols, a.group))
        add(name + ".weight", "U32", [rows, cols * a.bits // 32], "words", std)
        add(name + ".scales", "F16", [rows, cols // a.group], "scales", std)
        add(name + ".biases", "F16", [rows, cols // a.group], "biases", std)

    pool = Pool(a.bits, a.seed)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(a.out, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for kind, std, n in plan:
            if kind == "norm":
                f.write(struct.pack("<%de" % (n // 2), *(pool.rng.uniform(0.9, 1.1) for _ in range(n // 2))))
            elif kind == "words":
                pool.write_words(f, n)
            else:
                repeat_to(f, pool.scale_pools(std)[kind == "biases"], n)
        print("%s: %d tensors, %.3f GB" % (a.out, len(plan), f.tell() / 1e9), file=sys.stderr)


if __name__ == "__main__":
    main()
