#!/usr/bin/env python3
"""Writes dequant.safetensors (random blocks of every type, and their values) and dequant_models.json (checksums of
decoded rows of real models), both as the Python package `gguf` decodes them.

    pip install gguf==0.19.0 numpy
    python3 tests/goldens/make_dequant.py [MODEL.gguf ...]

Without models, dequant_models.json stays as it is. In every type numpy rounds once: products of a scale and an integer
are exact in f32, and in the types with minima (q4_1, q5_1, q2_k, q4_k, q5_k) d * q and the minimum are exact too, so
that only their sum is rounded. An exact value rounded to f32 must therefore equal numpy's, bit for bit.
"""

import json
import pathlib
import struct
import sys
import zlib

import gguf
import numpy as np
from gguf.quants import dequantize

BLOCKS = 8
ROWS = 64  # of a model's tensor
HERE = pathlib.Path(__file__).parent
T = gguf.GGMLQuantizationType
# Byte offsets of the f16 fields of a block: random bytes there could be NaN or infinity.
HALVES = {
    T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.BF16: [], T.F32: [], T.MXFP4: [],
}


def random_blocks(kind, rng):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == T.F32:
        return rng.standard_normal(BLOCKS * 32, dtype=np.float32).view(np.uint8).reshape(1, -1)
    count = BLOCKS * 32 if elements == 1 else BLOCKS
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == T.BF16:
        blocks[:, 1] &= 0xBF  # keeps the exponent finite
    for at in HALVES[kind]:
        # All exponents of a half but the last; the first block's are subnormal.
        half = rng.integers(0, 0x7C00, count, dtype=np.uint16) | rng.integers(0, 2, count, dtype=np.uint16) << 15
        half[0] &= 0x83FF
        blocks[:, at : at + 2] = half.view(np.uint8).reshape(count, 2)
    if kind == T.MXFP4:
        blocks[0, 0], blocks[1, 0] = 0, 1  # the scales that are subnormal in f32
        blocks[:, 0] %= 250
    return blocks.reshape(1, -1)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [data.size], "data_offsets": [at, at + data.nbytes]}
        at += data.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data.tobytes())


def main():
    rng = np.random.default_rng(331)
    tensors = {}
    for kind in sorted(HALVES, key=int):
        blocks = random_blocks(kind, rng)
        values = dequantize(blocks, kind).reshape(-1)
        assert np.isfinite(values).all(), kind
        tensors[f"{kind.name.lower()}.blocks"] = ("U8", blocks.reshape(-1))
        tensors[f"{kind.name.lower()}.values"] = ("F32", values.astype(np.float32))
    write_safetensors(HERE / "dequant.safetensors", tensors)

    if sys.argv[1:]:
        models = {}
        for path in sys.argv[1:]:
            entry = models[pathlib.Path(path).name] = {}
            for tensor in gguf.GGUFReader(path).tensors:
                rows = tensor.data if tensor.data.ndim > 1 else tensor.data.reshape(1, -1)
                rows = rows.reshape(-1, rows.shape[-1])[:ROWS]
                values = dequantize(np.ascontiguousarray(rows), tensor.tensor_type).astype(np.float32)
                entry[tensor.name] = zlib.crc32(values.tobytes())
        (HERE / "dequant_models.json").write_text(json.dumps({"rows": ROWS, "models": models}, indent=0) + "\n")


main()
