"""Bugs put into transformers models of six types, recorded and judged: capture_bugs_test.py --greta PROGRAM [--all]

Each is found at its own stages and phase alone, and named; nothing is declared. Without --all a few of the 24 are made.
Exit code 77 (skipped) without numpy, torch, transformers, gguf and safetensors."""

import argparse
import contextlib
import json
import pathlib
import sys
import unittest

try:
    import capture_judged_test as judged  # skips, too
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from greta.capture import capture
from greta.gguf_model import load_gguf

BUGS = {}


def bug(model_type, phase, stages, hypothesis, layer=None, few=False):
    """layer: the only one that has it; None: all."""

    def add(function):
        BUGS[function.__name__] = (function, model_type, phase, set(stages.split()), hypothesis, layer, few)
        return function

    return add


class Patched:
    """A model, and places of its computation that can be changed until the end of a run."""

    def __init__(self, model):
        self.model, self.layers, self.stack = model, model.model.layers, contextlib.ExitStack()
        self.code = sys.modules[type(self.layers[0].self_attn).__module__]
        self.rows = self.layer = 0

        def enter(at):
            def hook(_, args, kwargs):
                self.layer, self.rows = at, (args[0] if args else kwargs["hidden_states"]).shape[1]
            return hook

        for at, layer in enumerate(self.layers):
            self.stack.callback(layer.register_forward_pre_hook(enter(at), with_kwargs=True).remove)

    def put(self, owner, name, value):
        self.stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def out(self, module, function):
        """function(in, out) -> what comes out, or None."""
        self.stack.callback(module.register_forward_hook(lambda _, args, out: function(args[0], out)).remove)

    def rope(self, function):
        right = self.code.apply_rotary_pos_emb
        self.put(self.code, "apply_rotary_pos_emb", lambda q, k, cos, sin, *_, **__: function(right, q, k, cos, sin))

    def attention(self, before=lambda q, k, v: (q, k, v), scores=lambda s: s, scale=lambda s: s,
                  heads=lambda x, n: x.repeat_interleave(n, 1)):
        def eager(module, q, k, v, mask, scaling, **_):
            q, k, v = before(q, k, v)
            k, v = (heads(x, module.num_key_value_groups) for x in (k, v))
            weights = torch.matmul(q, k.transpose(2, 3)) * scale(scaling)
            weights = scores(weights if mask is None else weights + mask[..., :k.shape[-2]])
            weights = torch.nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype)
            return torch.matmul(weights, v).transpose(1, 2).contiguous(), weights

        self.put(self.code, "eager_attention_forward", eager)

    def weight(self, module, values, name="weight"):
        self.put(getattr(module, name), "data", values)


def turned(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos[:, None] + torch.cat((-x[..., half:], x[..., :half]), -1) * sin[:, None]


@bug("llama", "decode", "q_rope k_rope", "rope_position", few=True)
def position_one_on(p):
    keep = {}

    def rope(right, q, k, cos, sin):
        if q.shape[2] > 1:
            keep["one"] = cos[:, 1:2], sin[:, 1:2]
            return right(q, k, cos, sin)
        one = keep["one"]  # cos and sin of a sum of angles
        return right(q, k, cos * one[0] - sin * one[1], sin * one[0] + cos * one[1])

    p.rope(rope)


@bug("qwen3", "both", "k_rope", "rope_inverse")
def keys_turned_back(p):
    p.rope(lambda right, q, k, cos, sin: (right(q, k, cos, sin)[0], turned(k, cos, -sin)))


@bug("qwen2", "decode", "q_rope", "rope_style")
def pairs_for_halves(p):
    def pairs(x, cos, sin):
        half = x.shape[-1] // 2
        c, s = cos[:, None, :, :half], sin[:, None, :, :half]
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)

    def rope(right, q, k, cos, sin):
        q_rope, k_rope = right(q, k, cos, sin)
        return (pairs(q, cos, sin) if q.shape[2] == 1 else q_rope), k_rope

    p.rope(rope)


@bug("llama", "prefill", "k_rope", "rope_omitted", layer=1)
def one_head_not_turned(p):
    def rope(right, q, k, cos, sin):
        q_rope, k_rope = right(q, k, cos, sin)
        if p.layer == 1 and p.rows > 1:
            k_rope = k_rope.clone()
            k_rope[:, 1] = k[:, 1]
        return q_rope, k_rope

    p.rope(rope)


@bug("qwen2", "both", "final_norm", "norm_plus_one", few=True)
def norm_by_one_more(p):
    norm = p.model.model.norm
    p.weight(norm, norm.weight.data + 1)


@bug("llama", "both", "ffn_norm", "norm_mean_subtracted", layer=1)
def layer_norm(p):
    norm = p.layers[1].post_attention_layernorm
    p.out(norm, lambda x, out: torch.nn.functional.layer_norm(
        x, x.shape[-1:], norm.weight, None, norm.variance_epsilon))


@bug("llama", "both", "ffn_norm", "swapped_weight", layer=1)
def weight_of_the_other_norm(p):
    p.weight(p.layers[1].post_attention_layernorm, p.layers[1].input_layernorm.weight.data)


@bug("qwen3", "decode", "k_norm", "norm_omitted", few=True)
def keys_not_normed(p):
    for layer in p.layers:
        p.out(layer.self_attn.k_norm, lambda x, out: x if p.rows == 1 else None)


@bug("olmo2", "decode", "attn_post_norm", "norm_omitted", layer=1)
def norm_after_attention_omitted(p):
    p.out(p.layers[1].post_attention_layernorm, lambda x, out: x if p.rows == 1 else None)


@bug("gemma3", "both", "ffn_post_norm", "norm_plus_one", layer=2)
def gemmas_one_forgotten(p):
    norm = p.layers[2].post_feedforward_layernorm
    p.weight(norm, norm.weight.data - 1)


@bug("phi3", "both", "gate up", "swapped_weight", layer=1, few=True)
def halves_of_glu_swapped(p):
    product = p.layers[1].mlp.gate_up_proj
    p.weight(product, torch.cat(product.weight.data.chunk(2)[::-1]))


@bug("phi3", "decode", "k v", "swapped_weight")
def keys_for_values(p):
    for layer in p.layers:
        attention = layer.self_attn
        kv = p.model.config.num_key_value_heads * attention.head_dim

        def swap(x, out, kv=kv):
            return torch.cat((out[..., :-2 * kv], out[..., -kv:], out[..., -2 * kv:-kv]), -1) if p.rows == 1 else None

        p.out(attention.qkv_proj, swap)


@bug("olmo2", "both", "gate up", "swapped_weight", layer=1)
def gate_for_up(p):
    mlp = p.layers[1].mlp
    gate, up = mlp.gate_proj.weight.data, mlp.up_proj.weight.data
    p.weight(mlp.gate_proj, up), p.weight(mlp.up_proj, gate)


@bug("qwen2", "decode", "q", "wrong_bias", few=True)
def bias_dropped(p):
    for layer in p.layers:
        product = layer.self_attn.q_proj
        p.out(product, lambda x, out, product=product: out - product.bias if p.rows == 1 else None)


@bug("qwen2", "both", "k", "wrong_bias", layer=1)
def bias_twice(p):
    product = p.layers[1].self_attn.k_proj
    p.weight(product, product.bias.data * 2, "bias")


@bug("llama", "decode", "act", "wrong_activation", layer=1)
def gelu_for_silu(p):
    right = p.layers[1].mlp.act_fn

    class Wrong(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.gelu(x, approximate="tanh") if p.rows == 1 else right(x)

    p.put(p.layers[1].mlp, "act_fn", Wrong())


@bug("qwen3", "both", "act", "wrong_activation")
def quick_gelu(p):
    class Wrong(torch.nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(1.702 * x)

    for layer in p.layers:
        p.put(layer.mlp, "act_fn", Wrong())


@bug("gemma3", "prefill", "qk", "window", few=True)
def window_ignored(p):
    keep = {}

    def before(q, k, v):
        keep.update(q=q, k=k)
        return q, k, v

    def scores(s):
        if s.shape[2] == 1 or not p.layers[p.layer].self_attn.is_sliding:
            return s
        group = s.shape[1] // keep["k"].shape[1]
        raw = torch.matmul(keep["q"], keep["k"].repeat_interleave(group, 1).transpose(2, 3))
        raw = raw * p.layers[p.layer].self_attn.scaling
        hidden = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
        return raw.masked_fill(hidden, torch.finfo(s.dtype).min)

    p.attention(before, scores)


@bug("llama", "decode", "qk pv", "head_map")
def heads_tiled(p):
    p.attention(heads=lambda x, n: x.repeat(1, n, 1, 1) if p.rows == 1 else x.repeat_interleave(n, 1))


@bug("qwen2", "decode", "qk", "softmax_scale")
def scale_a_little_off(p):
    p.attention(scale=lambda s: s * 1.0625 if p.rows == 1 else s)


@bug("olmo2", "prefill", "qk", "mask_offset")
def strictly_causal(p):
    def scores(s):
        n = s.shape[-1]
        if s.shape[2] == 1:
            return s
        own = torch.eye(n, dtype=torch.bool)
        own[0, 0] = False
        return s.masked_fill(own, torch.finfo(s.dtype).min)

    p.attention(scores=scores)


@bug("llama", "both", "qk", "softcap", few=True)
def soft_cap(p):
    p.attention(scores=lambda s: torch.where(s < -1e30, s, 5 * torch.tanh(s / 5)))


@bug("olmo2", "decode", "pv", "output_zero", layer=1)
def one_head_is_zero(p):
    attention = p.layers[1].self_attn

    def zero(_, args):
        rows = args[0].clone()
        rows[..., attention.head_dim:2 * attention.head_dim] = 0
        return (rows,) if p.rows == 1 else None

    p.stack.callback(attention.o_proj.register_forward_pre_hook(zero).remove)


@bug("llama", "prefill", "attn_out", "wrong_row", layer=1)
def a_row_twice(p):
    def stale(x, out):
        if p.rows == 1:
            return None
        out = out.clone()
        out[:, 9] = out[:, 8]
        return out

    p.out(p.layers[1].self_attn.o_proj, stale)


class Bugs(judged.Judged):
    """Its own tests are another program's: these alone are run."""

    def check(self, name):
        function, model_type, phase, stages, hypothesis, layer, _ = BUGS[name]
        model, golden = self.unpack(model_type)
        patched = Patched(load_gguf(model))
        bundle = self.folder / name
        with patched.stack, torch.no_grad():
            function(patched)
            capture(patched.model, golden["tokens"], bundle, gguf=model)
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest.update(kernels={}, engine="unknown")
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        code, verdict = self.judge(bundle, model)
        self.assertEqual(code, 1, verdict)
        found = {(f["stage"], f["hypothesis"]) for f in verdict["findings"]}
        self.assertEqual({stage for stage, _ in found} - stages, set(), found)
        self.assertEqual({cause for _, cause in found}, {hypothesis}, found)
        for finding in verdict["findings"]:
            self.assertEqual(finding["phase"], phase)
            if layer is not None:
                self.assertEqual(finding["layer"], layer)


for inherited in [name for name in dir(Bugs) if name.startswith("test_")]:
    setattr(Bugs, inherited, None)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    parser.add_argument("--all", action="store_true")
    arguments, rest = parser.parse_known_args()
    judged.Judged.greta = arguments.greta
    for name, (*_, few) in BUGS.items():
        if few or arguments.all:
            setattr(Bugs, f"test_{name}", lambda self, name=name: self.check(name))
    unittest.main(argv=[sys.argv[0], *rest], defaultTest="Bugs")
