"""greta.capture on tiny random models: each recorded stage against numpy in f64, from the stages recorded before it.
CTest runs it; exit code 77 (skipped) without numpy, torch and transformers."""

import json
import pathlib
import sys
import tempfile
import unittest
import warnings

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.numpy import load_file
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))

from greta.capture import STAGES, Recorder, capture  # noqa: E402
from greta.rope_rows import halves_to_pairs  # noqa: E402

HEADS, KV_HEADS, DIM, BASE, EPS = 4, 2, 8, 10000.0, 1e-5
TOKENS = [5, 3, 8, 1, 9]
# f32 on sums of at most 32 terms, and RoPE angles up to 4: some 32 * 2^-24 of the largest value, with room.
TOLERANCE = 1e-5


def tiny(name="Llama", dtype=torch.float32):
    torch.manual_seed(7)
    config = getattr(transformers, name + "Config")(
        vocab_size=16, hidden_size=HEADS * DIM, intermediate_size=24, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, rms_norm_eps=EPS, max_position_embeddings=64, pad_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": BASE}, attn_implementation="eager")
    return getattr(transformers, name + "ForCausalLM")(config).to(dtype).eval()


def rope(x, positions, pairs):
    heads, j = x.reshape(len(x), -1, DIM), np.arange(DIM // 2)
    a, b = (2 * j, 2 * j + 1) if pairs else (j, j + DIM // 2)
    angle = np.asarray(positions)[:, None, None] * BASE ** (-2.0 * j / DIM)
    out = np.empty_like(heads)
    out[..., a] = heads[..., a] * np.cos(angle) - heads[..., b] * np.sin(angle)
    out[..., b] = heads[..., a] * np.sin(angle) + heads[..., b] * np.cos(angle)
    return out.reshape(x.shape)


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * weight


def expected(get, weight, layer, positions, pairs):
    """(stage, f64) of one layer, each from what `get` says of its inputs."""
    order = (lambda rows: halves_to_pairs(rows, DIM)) if pairs else (lambda rows: rows)
    cache, share = get("kv_write"), np.repeat(np.arange(KV_HEADS), HEADS // KV_HEADS)
    keys, values = (half.reshape(-1, KV_HEADS, DIM)[:, share] for half in np.split(cache, 2, axis=-1))
    yield "attn_norm", norm(get("x_in"), weight("input_layernorm"))
    for stage in "qkv":
        y = get("attn_norm") @ weight(f"self_attn.{stage}_proj").T
        yield stage, y if stage == "v" else order(y)
    for stage in "qk":
        yield stage + "_rope", rope(get(stage), positions, pairs)
    new = slice(positions[0], positions[-1] + 1)
    yield "kv_write", np.concatenate((cache[: new.start], np.concatenate((get("k_rope"), get("v")), -1)))
    scores = np.einsum("shd,nhd->shn", get("q_rope").reshape(-1, HEADS, DIM), keys) / np.sqrt(DIM)
    hidden = np.arange(len(cache))[None, :] > np.asarray(positions)[:, None]
    yield "qk", np.where(hidden[:, None], -np.inf, scores)
    shares = np.exp(get("qk") - get("qk").max(-1, keepdims=True))
    yield "softmax", shares / shares.sum(-1, keepdims=True)
    yield "pv", np.einsum("shn,nhd->shd", get("softmax"), values).reshape(len(positions), -1)
    yield "attn_out", get("pv") @ weight("self_attn.o_proj").T
    yield "x_attn", get("x_in") + get("attn_out")
    yield "ffn_norm", norm(get("x_attn"), weight("post_attention_layernorm"))
    yield "gate", get("ffn_norm") @ weight("mlp.gate_proj").T
    yield "up", get("ffn_norm") @ weight("mlp.up_proj").T
    yield "act", get("gate") / (1 + np.exp(-get("gate"))) * get("up")
    yield "down", get("act") @ weight("mlp.down_proj").T
    yield "x_out", get("x_attn") + get("down")


class Capture(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "b"

    def events(self):
        return [json.loads(line) for line in (self.out / "events.jsonl").read_text().splitlines()]

    def read(self):
        return {(e["phase"], e["layer"], e["stage"]): load_file(self.out / e["file"])[e["tensor"]].astype(np.float64)
                for e in self.events()}

    def check(self, model, pairs):
        values, weights = self.read(), {name: w.numpy().astype(np.float64) for name, w in model.state_dict().items()}
        last = len(TOKENS) - 1
        for phase, positions in [("prefill", range(last + 1)), ("prefill_last", [last]), ("decode0", [last])]:
            for layer in range(2):
                seen = []
                for stage, truth in expected(lambda s: values[phase, layer, s],
                                             lambda w: weights[f"model.layers.{layer}.{w}.weight"],
                                             layer, positions, pairs):
                    got = values[phase, layer, stage]
                    self.assertEqual(got.shape, truth.shape, (phase, layer, stage))
                    finite = np.isfinite(truth)
                    self.assertTrue((finite == np.isfinite(got)).all(), (phase, layer, stage))
                    error = np.abs(got[finite] - truth[finite]).max() / np.abs(truth[finite]).max()
                    self.assertLess(error, TOLERANCE, (phase, layer, stage))
                    seen.append(stage)
                self.assertEqual(["x_in", *seen, "final_norm", "logits"], STAGES)
            self.assertTrue((values[phase, 1, "x_in"] == values[phase, 0, "x_out"]).all())
            logits = norm(values[phase, 1, "x_out"], weights["model.norm.weight"]) @ weights["lm_head.weight"].T
            self.assertLess(np.abs(logits - values[phase, -1, "logits"]).max() / np.abs(logits).max(), TOLERANCE)

    def test_llama_in_the_order_of_pairs(self):
        model = tiny()
        capture(model, TOKENS, self.out)
        self.check(model, pairs=True)

    def test_halves_when_the_gguf_has_them(self):
        model = tiny()
        capture(model, TOKENS, self.out, rope_rows="halves")
        self.check(model, pairs=False)

    def test_leaves_the_model_as_it_was(self):
        model, ids = tiny(), torch.tensor([TOKENS])
        functions = sys.modules[type(model).__module__]
        before = functions.apply_rotary_pos_emb, functions.eager_attention_forward, torch.nn.functional.softmax
        with torch.no_grad():
            logits = model(ids).logits
            capture(model, TOKENS, self.out)
            self.assertTrue((model(ids).logits == logits).all())
        after = functions.apply_rotary_pos_emb, functions.eager_attention_forward, torch.nn.functional.softmax
        self.assertEqual(before, after)
        self.assertFalse(any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()))

    def test_other_models_and_formats(self):
        capture(tiny("Qwen2"), TOKENS, self.out, layers=[1], stages=["q", "qk"])  # halves by its type; has biases
        self.assertEqual({(e["layer"], e["stage"]) for e in self.events()}, {(1, "q"), (1, "qk")})
        self.out = self.out.with_name("c")
        capture(tiny(dtype=torch.bfloat16), TOKENS[:1], self.out)
        self.assertEqual({e["dtype"] for e in self.events()}, {"bf16"})
        self.assertEqual(self.read()["decode0", 0, "kv_write"].shape, (1, 2 * KV_HEADS * DIM))

    def test_says_what_it_cannot_see(self):
        model = tiny()
        model.config._attn_implementation = "sdpa"
        with self.assertRaisesRegex(ValueError, "attention must be eager"):
            capture(model, TOKENS, self.out)
        model.config._attn_implementation = "eager"
        with self.assertRaisesRegex(ValueError, "no layer 2"):
            capture(model, TOKENS, self.out, layers=[2])
        model.model.layers[0].mlp.down_proj.forward = None  # a crash in the middle of a run
        with self.assertRaises(TypeError):
            capture(model, TOKENS, self.out)
        self.assertFalse(json.loads((self.out / "manifest.json").read_text())["complete"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Recorder(model, self.out.with_name("c")) as recorder, recorder.phase("prefill", [0]):
                pass
        self.assertRegex(str(caught[0].message), "prefill: 40 stages not seen")


if __name__ == "__main__":
    unittest.main()
