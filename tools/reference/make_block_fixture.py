#!/usr/bin/env python3
"""Make src/domain/model/testdata/blocks.json: what the bits of every weight type mean.

GGUF blocks are random bytes with finite scales, and their values come from the `gguf` package. MLX
rows are random words, and their values come from MLX itself, on its CPU device with the scales and
biases widened to f32, where it computes scale * q + bias as we do. Plain rows and the Q8_0 blocks
that the `gguf` package makes of them say how such a row is quantised.

  /tmp/fixtures/bin/python tools/reference/make_block_fixture.py
"""
import json
import os
from importlib.metadata import version

import gguf
import mlx.core as mx
import numpy as np

OUT = os.path.join(os.path.dirname(__file__), "../../src/domain/model/testdata/blocks.json")
T = gguf.GGMLQuantizationType
# Type, and where its f16 scales stand in a block.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
COLS = 512


def scale_bytes(rng, count):
    """f16 scales of both signs, from ordinary to subnormal and the largest."""
    values = rng.normal(0, 0.05, count).astype(np.float16)
    values[:: 5] = np.float16(3e-6)
    values[2:: 7] *= -1
    values[-1] = np.float16(65504)
    return values.view(np.uint8).reshape(count, 2)


def gguf_case(kind, rng):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (COLS // elements, size), dtype=np.uint8)
    for at in SCALES.get(kind, []):
        blocks[:, at:at + 2] = scale_bytes(rng, len(blocks))
    if kind in (T.F32, T.F16, T.BF16):
        floats = rng.normal(0, 1, COLS).astype(np.float32)
        floats[:4] = [0.0, -0.0, 1e-7, 60000.0]
        blocks = {T.F32: lambda: floats, T.F16: lambda: floats.astype(np.float16),
                  T.BF16: lambda: (floats.view(np.uint32) >> 16).astype(np.uint16)}[kind]()
        blocks = blocks.view(np.uint8).reshape(COLS, -1)
    values = gguf.quants.dequantize(np.ascontiguousarray(blocks).reshape(1, -1), kind).astype(np.float32).reshape(-1)
    assert len(values) == COLS and np.isfinite(values).all()
    return {"type": kind.name, "data": blocks.tobytes().hex(), "values": values.tobytes().hex()}


def to_f32(raw, kind):
    if kind == "F32":
        return raw.view(np.float32)
    if kind == "F16":
        return raw.view(np.float16).astype(np.float32)
    return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def from_f32(values, kind):
    values = values.astype(np.float32)
    if kind == "F32":
        return values.view(np.uint8)
    if kind == "F16":
        return values.astype(np.float16).view(np.uint8)
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def mlx_case(bits, group, kind, rng):
    words = rng.integers(0, 1 << 32, COLS * bits // 32, dtype=np.uint32)
    scales = from_f32(rng.normal(0, 0.1, COLS // group), kind)
    biases = from_f32(rng.normal(0, 1, COLS // group), kind)
    wide = [mx.array(to_f32(a, kind)[None, :]) for a in (scales, biases)]
    values = np.array(mx.dequantize(mx.array(words[None, :]), *wide, group_size=group, bits=bits))[0]
    assert values.dtype == np.float32 and len(values) == COLS
    return {"bits": bits, "group_size": group, "scale_type": kind, "data": words.tobytes().hex(),
            "scales": scales.tobytes().hex(), "biases": biases.tobytes().hex(), "values": values.tobytes().hex()}


def q8_case(kind, rng):
    """A plain row and its Q8_0 blocks: ordinary values, zeros, halves between two steps, a huge one."""
    floats = rng.normal(0, 0.02, COLS).astype(np.float32)
    floats[32:64] = 0
    floats[64:96] = 127 * np.float32(0.5) * np.sign(rng.normal(size=32))
    floats[64:80] = np.arange(16) * np.float32(0.25) - 2
    floats[100] = 50000
    plain = from_f32(floats, kind)
    blocks = gguf.quants.quantize(to_f32(plain, kind)[None, :], T.Q8_0)
    return {"type": kind, "data": plain.tobytes().hex(), "q8_0": blocks.tobytes().hex()}


def main():
    mx.set_default_device(mx.cpu)
    rng = np.random.default_rng(7)
    kinds = [T.F32, T.F16, T.BF16, *SCALES]
    fixture = {"about": "One row of %d elements per case; bytes and f32 values in hex. Made by "
                        "tools/reference/make_block_fixture.py with gguf %s, MLX %s." % (COLS, version("gguf"), version("mlx")),
               "cols": COLS, "gguf": [gguf_case(kind, rng) for kind in kinds],
               "mlx": [mlx_case(bits, group, kind, rng) for bits in (2, 3, 4, 5, 6, 8) for group, kind in
                       ((32, "F16"), (64, "BF16"), (128, "F32"))],
               "q8": [q8_case(kind, rng) for kind in ("F32", "F16", "BF16")]}
    with open(OUT, "w", encoding="utf-8") as f:
        f.write(json.dumps(fixture, indent=0) + "\n")
    print("%s: %d bytes" % (os.path.normpath(OUT), os.path.getsize(OUT)))


if __name__ == "__main__":
    main()
