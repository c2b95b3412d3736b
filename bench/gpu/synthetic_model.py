#!/usr/bin/env python3
"""Writes a GGUF model of true shapes and random weights, for speed and for bits; its text means nothing.

usage: synthetic_model.py SHAPE TYPE FILE [SEED]
SHAPE is 8b, 1b5 or smollm2 (llama's architecture), TYPE f16, bf16, q8_0 or q4_k. Needs numpy.
"""
import struct
import sys

import numpy as np

# Layers, width, feed-forward width, heads, those of keys and values, tokens.
SHAPES = {
    "8b": (32, 4096, 14336, 32, 8, 128256),
    "1b5": (28, 1536, 8960, 12, 2, 151936),
    "smollm2": (30, 576, 1536, 9, 3, 49152),
}
TYPES = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q8_0": (8, 32, 34), "q4_k": (12, 256, 144), "bf16": (30, 1, 2)}
CHUNK = 32 << 20  # bytes of random weights, which every tensor begins to use at another place
ALIGNMENT = 32


def random_blocks(kind, k, random):
    """About CHUNK bytes of blocks whose weights have a spread of about 1 / sqrt(k)."""
    _, block, size = TYPES[kind]
    count = CHUNK // size
    if kind in ("f16", "bf16"):
        values = (random.standard_normal(count, dtype=np.float32) / np.sqrt(k)).astype(np.float32)
        if kind == "f16":
            return values.astype(np.float16).view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == "q8_0":  # codes of a spread of 74
        blocks[:, :2] = np.full(count, 1 / (74 * np.sqrt(k)), np.float16).view(np.uint8).reshape(-1, 2)
    else:  # scales of about 31, codes of a spread of 4.6 about 7.5
        d = np.float16(1 / (31 * 4.6 * np.sqrt(k)))
        blocks[:, :4] = np.tile(np.array([d, np.float16(7.5 * d)], np.float16).view(np.uint8), (count, 1))
    return blocks.reshape(-1)


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return text(key) + struct.pack("<IIQ", 9, 5, len(value)) + np.array(value, np.int32).tobytes()


def letter(byte):
    """GPT-2's printable character for a byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte if byte in visible else 256 + sum(b not in visible for b in range(byte)))


def metadata(shape, name):
    layers, width, ff, heads, kv_heads, tokens = shape
    vocabulary = [letter(b) for b in range(256)] + ["<s>", "</s>", "aa"]
    vocabulary += [f"<{i}>" for i in range(len(vocabulary), tokens)]
    return {
        "general.architecture": "llama",
        "general.name": name,
        "llama.block_count": layers,
        "llama.context_length": 8192,
        "llama.embedding_length": width,
        "llama.feed_forward_length": ff,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 500000.0,
        "llama.vocab_size": tokens,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [3 if 256 <= i < 258 else 1 for i in range(tokens)],
        "tokenizer.ggml.merges": ["a a"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 257,
    }


def tensors(shape, kind):
    """(name, rows, k, type) of each."""
    layers, width, ff, heads, kv_heads, tokens = shape
    kv = width // heads * kv_heads
    yield "token_embd.weight", tokens, width, kind
    for i in range(layers):
        yield f"blk.{i}.attn_norm.weight", 1, width, "f32"
        for name, rows, k in (("attn_q", width, width), ("attn_k", kv, width), ("attn_v", kv, width),
                              ("attn_output", width, width)):
            yield f"blk.{i}.{name}.weight", rows, k, kind
        yield f"blk.{i}.ffn_norm.weight", 1, width, "f32"
        for name, rows, k in (("ffn_gate", ff, width), ("ffn_up", ff, width), ("ffn_down", width, ff)):
            yield f"blk.{i}.{name}.weight", rows, k, kind
    yield "output_norm.weight", 1, width, "f32"
    yield "output.weight", tokens, width, kind


def pad(file):
    file.write(b"\0" * (-file.tell() % ALIGNMENT))


def write(shape, kind, path, seed):
    random = np.random.default_rng(seed)
    entries, listed = metadata(shape, f"synthetic {kind}"), list(tensors(shape, kind))
    chunks = {}
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(entries)))
        for key, value in entries.items():
            file.write(entry(key, value))
        offset = 0
        for name, rows, k, of in listed:
            number, block, size = TYPES[of]
            dims = (k,) if rows == 1 else (k, rows)
            file.write(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, offset))
            offset += rows * k // block * size
            offset += -offset % ALIGNMENT
        pad(file)
        for name, rows, k, of in listed:
            if of == "f32":
                file.write(np.ones(k, np.float32).tobytes())
                continue
            if k not in chunks:
                chunks[k] = random_blocks(of, k, random)
            chunk = chunks[k]
            _, block, size = TYPES[of]
            left = rows * k // block * size
            at = int(random.integers(0, len(chunk) // size)) * size
            while left > 0:
                part = chunk[at:at + left]
                file.write(part.tobytes())
                left -= len(part)
                at = 0
            pad(file)


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in SHAPES or sys.argv[2] not in TYPES or sys.argv[2] == "f32":
        sys.exit(__doc__)
    write(SHAPES[sys.argv[1]], sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) == 5 else 1)


if __name__ == "__main__":
    main()
