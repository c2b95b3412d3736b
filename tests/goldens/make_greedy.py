"""Greedy tokens of a llama-architecture GGUF computed in f64 with numpy: an outside truth for tests/e2e.

    pip install gguf numpy
    python3 tests/goldens/make_greedy.py MODEL.gguf tests/goldens/reference/smollm2.json > tests/goldens/smollm2_greedy.json

The forward pass is written from the architecture's equations and shares nothing with GRETA; weights are decoded by the
package gguf. Each step gives the token and its margin over the second in logits.
"""

import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

reader = GGUFReader(sys.argv[1])
weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}


def field(name):
    return reader.fields[f"llama.{name}"].contents()


layers, heads, kv_heads = field("block_count"), field("attention.head_count"), field("attention.head_count_kv")
eps, base, dims = field("attention.layer_norm_rms_epsilon"), field("rope.freq_base"), field("rope.dimension_count")
frequencies = base ** (-np.arange(dims // 2) * 2.0 / dims)


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rope(x, positions, count):
    pairs = x.reshape(len(x), count, dims // 2, 2)
    angle = positions[:, None, None] * frequencies
    a, b, c, s = pairs[..., 0], pairs[..., 1], np.cos(angle), np.sin(angle)
    return np.stack([a * c - b * s, a * s + b * c], -1).reshape(len(x), count, dims)


class Session:
    def __init__(self):
        self.keys = [np.zeros((0, kv_heads, dims)) for _ in range(layers)]
        self.values = [np.zeros((0, kv_heads, dims)) for _ in range(layers)]

    def forward(self, ids):
        first = len(self.keys[0])
        positions = np.arange(first, first + len(ids))
        x = weights["token_embd.weight"][ids]
        for layer in range(layers):
            w = lambda name: weights[f"blk.{layer}.{name}.weight"]
            h = norm(x, w("attn_norm"))
            q = rope(h @ w("attn_q").T, positions, heads)
            k = rope(h @ w("attn_k").T, positions, kv_heads)
            v = (h @ w("attn_v").T).reshape(len(ids), kv_heads, dims)
            self.keys[layer] = np.concatenate([self.keys[layer], k])
            self.values[layer] = np.concatenate([self.values[layer], v])
            x = x + self.attend(layer, q, positions) @ w("attn_output").T
            h = norm(x, w("ffn_norm"))
            gate = h @ w("ffn_gate").T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        output = weights.get("output.weight", weights["token_embd.weight"])
        return norm(x[-1], weights["output_norm.weight"]) @ output.T

    def attend(self, layer, q, positions):
        out = np.zeros((len(q), heads, dims))
        hidden = np.arange(len(self.keys[layer]))[None, :] > positions[:, None]
        for head in range(heads):
            kv = head // (heads // kv_heads)
            scores = np.where(hidden, -np.inf, q[:, head] @ self.keys[layer][:, kv].T / np.sqrt(dims))
            share = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = share / share.sum(-1, keepdims=True) @ self.values[layer][:, kv]
        return out.reshape(len(q), heads * dims)


def main():
    reference = json.load(open(sys.argv[2]))
    result = {"made_by": "tests/goldens/make_greedy.py", "model": reference["model"], "prompts": {}}
    for name, prompt in reference["prompts"].items():
        session, tokens, margins = Session(), [], []
        ids = prompt["ids"]
        for _ in range(24):
            logits = session.forward(ids)
            second, best = np.argsort(logits)[-2:]
            tokens.append(int(best))
            margins.append(round(float(logits[best] - logits[second]), 6))
            ids = [int(best)]
        result["prompts"][name] = {"greedy_24": tokens, "margins": margins}
    json.dump(result, sys.stdout, indent=1)
    print()


main()
