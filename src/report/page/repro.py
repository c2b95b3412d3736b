#!/usr/bin/env python3
"""Computes one stage anew from what was recorded of it, and holds what was observed against that.

Needs numpy alone. Written by `greta repro`; stage.json says what the stage is, stage.safetensors holds its
inputs as the kernel reads them, weight rows, what was observed, and the bound of rounding of each element.
"""
import json
import pathlib
import struct

import numpy as np


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    start = 8 + size
    return {name: np.frombuffer(data[start + t["data_offsets"][0]:start + t["data_offsets"][1]], "<f8").reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def norm(t, how, heads=1):
    x = t["input0"].reshape(heads, -1)
    return (x / np.sqrt((x * x).mean(axis=1, keepdims=True) + how["eps"]) * t["weight"].reshape(-1)).reshape(-1)


def head_norm(t, how):
    return norm(t, how, t["input0"].size // t["weight"].size)


def capped(x, how):
    return how["cap"] * np.tanh(x / how["cap"]) if how["cap"] else x


def projection(t, how):
    return capped((t["weight"] @ t["input0"] + t.get("bias", 0)) * how["scale"], how)


def embedding(t, how):
    return t["input0"] if "input0" in t else t["weight"].reshape(-1) * how["scale"]


def slowed(i, how):
    """YaRN: what is left of each pair's frequency."""
    borders = [how["rope_dims"] * np.log(how["yarn_original"] / (beta * 2 * np.pi)) / (2 * np.log(how["rope_base"]))
               for beta in how["yarn_betas"]]
    low, high = [np.floor(borders[0]), np.ceil(borders[1])] if how["yarn_whole_borders"] else borders
    low, high = max(low, 0), min(high, how["rope_dims"] - 1)
    share = np.clip((i - low) / max(high - low, 0.001), 0, 1)
    return share / how["yarn_factor"] + 1 - share


def rope(t, how):
    x = t["input0"].reshape(-1, how["head_dim"]).copy()
    pairs = how["rope_dims"] // 2
    i = np.arange(pairs)
    angle = how["position"] * how["rope_scale"] * how["rope_base"] ** (-2.0 * i / how["rope_dims"])
    angle = angle / t["factors"].reshape(-1) if "factors" in t else angle
    angle = angle * slowed(i, how) if how["yarn_factor"] != 1 else angle
    cos, sin = how["rope_magnitude"] * np.cos(angle), how["rope_magnitude"] * np.sin(angle)
    first, second = (2 * i, 2 * i + 1) if how["rope_adjacent"] else (i, i + pairs)
    a, b = x[:, first].copy(), x[:, second].copy()
    x[:, first] = a * cos - b * sin
    x[:, second] = a * sin + b * cos
    return x.reshape(-1)


def halves(t, how):
    """The cache's rows: keys, values; [positions, kv heads, head_dim] each."""
    rows = t["input1"].reshape(-1, 2, how["heads_kv"], how["head_dim"])
    return rows[:, 0], rows[:, 1]


def scores(t, how):
    keys, _ = halves(t, how)
    group = how["heads"] // how["heads_kv"]
    q = t["input0"].reshape(how["heads_kv"], group, how["head_dim"])
    s = np.einsum("hgd,phd->hgp", q, keys).reshape(how["heads"], -1) * how["attention_scale"]
    s = capped(s, how)
    j, p, window = np.arange(s.shape[1]), how["position"], how["window"]
    s[:, (j > p) | ((window > 0) & (j <= p - window))] = -np.inf
    return s.reshape(-1)


def weights(t, how):
    s = t["input0"].reshape(how["heads"], -1)
    most = s.max(axis=1, keepdims=True)
    e = np.exp(s - most)
    sinks = np.exp(t["weight"].reshape(-1, 1) - most) if "weight" in t else 0  # in the sum alone
    return (e / (e.sum(axis=1, keepdims=True) + sinks)).reshape(-1)


def mix(t, how):
    _, values = halves(t, how)
    group = how["heads"] // how["heads_kv"]
    w = t["input0"].reshape(how["heads_kv"], group, -1)
    seen = np.arange(values.shape[0]) <= how["position"]
    return np.einsum("hgp,phd->hgd", w[:, :, seen], values[seen]).reshape(-1)


def product(t, how):
    x, up = t["input0"], t["input1"]
    if how["activation"] == "swiglu_oai":
        x, up = np.minimum(x, 7), np.clip(up, -7, 7)
        return x / (1 + np.exp(-1.702 * x)) * (up + 1)
    if how["activation"] == "gelu":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))) * up
    return x / (1 + np.exp(-x)) * up


def add(t, how):
    return t["input0"] + how["scale"] * t["input1"]


FORMULAS = {"norm": norm, "head_norm": head_norm, "projection": projection, "embedding": embedding, "rope": rope,
            "scores": scores, "weights": weights, "mix": mix, "product": product, "sum": add}


def main():
    here = pathlib.Path(__file__).parent
    stage = json.loads((here / "stage.json").read_text())
    t = read_safetensors(here / "stage.safetensors")
    how = stage["how"]
    computed = FORMULAS[how["kind"]](t, how)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(t["observed"] == computed, 0, np.abs(t["observed"] - computed))
        ratio = np.where(error == 0, 0, error / t["bound"])
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    worst = int(ratio.argmax())
    print(f"{stage['phase']} layer {stage['layer']} {stage['stage']}, position {how['position']}, "
          f"{stage['kernel'] or 'unnamed kernel'} ({stage['arithmetic']})")
    print(f"{'element':>8} {'observed':>14} {'recomputed':>14} {'bound':>10} {'error/bound':>12}")
    for i in sorted(np.argsort(-ratio)[:8]):
        print(f"{i + how['first_element']:>8} {t['observed'][i]:>14.7g} {computed[i]:>14.7g} {t['bound'][i]:>10.2e} "
              f"{ratio[i]:>12.4g}")
    print(f"noise ratio {ratio[worst]:.3g} (GRETA: {float(stage['noise_ratio']):.3g}); rounding allows 1")


if __name__ == "__main__":
    main()
