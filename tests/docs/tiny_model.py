"""A model with SmolLM2's shape, 2 layers of random weights and a vocabulary of bytes, as a GGUF file: what the
documents' examples run on where no real model is needed. Standard library only; the same bytes every time."""

import random
import struct

N_LAYER, N_EMBD, N_FF, HEAD_DIM, N_HEAD, N_HEAD_KV = 2, 576, 1536, 64, 9, 3
F32, Q4_1, Q8_0 = 0, 3, 8  # ggml's tensor types
MERGED = ["Hi"]  # the prompt p0_short is one token, as with SmolLM2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ALIGNMENT = 32


def byte_letters():
    """GPT-2's printable character for each byte: 188 stand for themselves, the others follow from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def strings(texts):
    return 9, struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts))


def metadata():
    """key -> (GGUF type, bytes)"""
    def uint(n):
        return 4, struct.pack("<I", n)

    def real(x):
        return 6, struct.pack("<f", x)

    tokens = SPECIAL + byte_letters() + MERGED
    kinds = [3] * len(SPECIAL) + [1] * (256 + len(MERGED))  # control, normal
    return {
        "general.architecture": (8, string("llama")),
        "general.name": (8, string("random, in SmolLM2's shape")),
        "llama.block_count": uint(N_LAYER),
        "llama.context_length": uint(8192),
        "llama.embedding_length": uint(N_EMBD),
        "llama.feed_forward_length": uint(N_FF),
        "llama.attention.head_count": uint(N_HEAD),
        "llama.attention.head_count_kv": uint(N_HEAD_KV),
        "llama.rope.freq_base": real(100000.0),
        "llama.rope.dimension_count": uint(HEAD_DIM),
        "llama.attention.layer_norm_rms_epsilon": real(1e-5),
        "tokenizer.ggml.model": (8, string("gpt2")),
        "tokenizer.ggml.pre": (8, string("smollm")),
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.token_type": (9, struct.pack(f"<IQ{len(kinds)}i", 5, len(kinds), *kinds)),
        "tokenizer.ggml.merges": strings([" ".join(pair) for pair in MERGED]),
        "tokenizer.ggml.bos_token_id": uint(1),
        "tokenizer.ggml.eos_token_id": uint(2),
        "tokenizer.ggml.add_bos_token": (7, b"\0"),
    }


def blocks(noise, count, head, codes):
    """`count` quantised blocks, each `head` (its scales) and `codes` random bytes."""
    data = noise.randbytes(count * codes)
    return b"".join(head + data[i : i + codes] for i in range(0, len(data), codes))


def tensors(noise):
    """(name, dims with the innermost first, type, bytes). Weights are of the size 1 / sqrt(k)."""

    def matrix(name, k, n):
        step = k**-0.5 / 4
        return name, (k, n), Q4_1, blocks(noise, k * n // 32, struct.pack("<ee", step, -7.5 * step), 16)

    def norm(name):
        return name, (N_EMBD,), F32, struct.pack(f"<{N_EMBD}f", *(noise.uniform(0.5, 1.5) for _ in range(N_EMBD)))

    n_vocab, n_kv = len(SPECIAL) + 256 + len(MERGED), N_HEAD_KV * HEAD_DIM
    yield "token_embd.weight", (N_EMBD, n_vocab), Q8_0, blocks(noise, N_EMBD * n_vocab // 32, struct.pack("<e", 0.01), 32)
    yield norm("output_norm.weight")
    for layer in range(N_LAYER):
        of = f"blk.{layer}.{{}}.weight".format
        yield norm(of("attn_norm"))
        yield norm(of("ffn_norm"))
        for name, k, n in [("attn_q", N_EMBD, N_EMBD), ("attn_k", N_EMBD, n_kv), ("attn_v", N_EMBD, n_kv),
                           ("attn_output", N_EMBD, N_EMBD), ("ffn_gate", N_EMBD, N_FF), ("ffn_up", N_EMBD, N_FF),
                           ("ffn_down", N_FF, N_EMBD)]:
            yield matrix(of(name), k, n)


def write(path):
    entries, written = metadata(), list(tensors(random.Random(7)))
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(written), len(entries))
    for key, (kind, value) in entries.items():
        header += string(key) + struct.pack("<I", kind) + value
    offset, data = 0, []
    for name, dims, kind, values in written:
        header += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        values += bytes(-len(values) % ALIGNMENT)
        data.append(values)
        offset += len(values)
    path.write_bytes(header + bytes(-len(header) % ALIGNMENT) + b"".join(data))
