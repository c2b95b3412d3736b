"""greta.capture on tiny random models of every type it knows: each recorded stage against numpy in f64, from the stages
recorded before it (tiny_types.py). CTest runs it; exit code 77 (skipped) without numpy, torch and transformers."""

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
    from tiny_types import DIM, KV_HEADS, TYPES, WINDOW, Truth, tiny, tiny_with_vision
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))

from greta.capture import STAGES, Recorder, cache_of, capture  # noqa: E402

TOKENS = [5, 3, 8, 1, 9, 2, 7]  # more than the window
BATCH = [[4, 6], TOKENS, [11, 3, 3, 2, 1]]
# Of the largest value of a stage, in f32: sums of at most 32 terms (32 * 2^-24 = 1.9e-6), RoPE's angles up to 6
# (6 * 2^-23), and torch's fused attention, whose exponentials are good to 20 ulps (1.2e-6), over its sums.
TOLERANCE = 1e-5


def attentions(name):
    return ("eager",) if "caps" in TYPES[name][2] else ("eager", "sdpa")  # torch's has no soft cap


class Capture(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "b"

    def another(self):
        self.out = self.out.with_name(self.out.name + "b")
        return self.out

    def events(self):
        return [json.loads(line) for line in (self.out / "events.jsonl").read_text().splitlines()]

    def read(self, prompt="prompt"):
        """(phase, layer, stage) -> (values in f64, positions)."""
        return {(e["phase"], e["layer"], e["stage"]): (load_file(self.out / e["file"])[e["tensor"]].astype(np.float64),
                                                       list(range(e["positions"][0], e["positions"][1] + 1)))
                for e in self.events() if e["prompt_id"] == prompt}

    def compare(self, got, truth, where):
        self.assertEqual(got.shape, truth.shape, where)
        finite = np.isfinite(truth)
        self.assertTrue((finite == np.isfinite(got)).all(), where)
        self.assertLess(np.abs(got[finite] - truth[finite]).max() / np.abs(truth[finite]).max(), TOLERANCE, where)

    def check(self, model, name, tokens=TOKENS, prompt="prompt", phases=None):
        """All that was recorded of one prompt, and that nothing lacks. phases: name -> positions."""
        recorded, truth, last = self.read(prompt), Truth(model, name), len(tokens) - 1
        phases = phases or {"prefill": range(last + 1), "prefill_last": [last], "decode0": [last]}
        self.assertEqual({phase for phase, _, _ in recorded}, set(phases))
        seen = set()
        for phase, positions in phases.items():
            positions = list(positions)
            for layer in range(2):
                def get(stage, phase=phase, layer=layer):
                    return recorded.get((phase, layer, stage), [None])[0]

                stages = list(truth.layer(get, layer, positions))
                x_in = truth.embedded([tokens[p] for p in positions]) if layer == 0 else recorded[phase, 0, "x_out"][0]
                for stage, value in [("x_in", x_in), *stages]:
                    self.assertEqual(recorded[phase, layer, stage][1],
                                     list(range(positions[-1] + 1)) if stage == "kv_write" else positions,
                                     (phase, layer, stage))
                    self.compare(get(stage), value, (phase, layer, stage))
                    seen.add((phase, layer, stage))
            x_out = recorded[phase, 1, "x_out"][0]
            for stage, value in truth.end(lambda s, phase=phase: recorded[phase, -1, s][0], x_out):
                self.compare(recorded[phase, -1, stage][0], value, (phase, stage))
                seen.add((phase, -1, stage))
        self.assertEqual(seen, set(recorded))
        return recorded

    def test_every_type_with_each_attention(self):
        for name in TYPES:
            for attention in attentions(name):
                with self.subTest(type=name, attention=attention), warnings.catch_warnings():
                    warnings.filterwarnings("error", ".*stages not seen")
                    model = tiny(name, attention)
                    capture(model, TOKENS, self.another())
                    recorded = self.check(model, name)
                    self.assertEqual(("prefill", 0, "qk") in recorded, attention == "eager")
                    # What decode did not write is the prefill's, also where a window has dropped it.
                    before, after = (recorded[phase, 0, "kv_write"][0] for phase in ("prefill", "decode0"))
                    self.assertTrue((before[:-1] == after[:-1]).all())

    def test_a_batch_padded_on_either_side(self):
        for name in TYPES:
            for padding in ("left", "right"):
                windowed = any(TYPES[name][2].get("windows", ()))
                for attention in attentions(name):
                    with self.subTest(type=name, padding=padding, attention=attention):
                        model, decode = tiny(name, attention), not (windowed and padding == "right")
                        capture(model, BATCH, self.another(), padding=padding, decode=decode)
                        for at, tokens in enumerate(BATCH):
                            last = len(tokens) - 1
                            phases = {"prefill": range(last + 1), "prefill_last": [last], "decode0": [last]}
                            if not decode:
                                del phases["decode0"]
                            self.check(model, name, tokens, f"prompt.{at}", phases)
        manifest = json.loads((self.out / "manifest.json").read_text())
        self.assertEqual([prompt["tokens"] for prompt in manifest["prompts"]], BATCH)
        with self.assertRaisesRegex(ValueError, "pad on the left"):
            capture(tiny("gemma3"), BATCH, self.another(), padding="right")

    def test_the_row_that_decode0_writes_is_new_memory(self):
        """A cache that keeps the cropped row, in which decode0's key is not written, would show prefill's."""
        for decode in (False, True):
            capture(tiny("llama"), TOKENS, self.another(), decode=decode)
            manifest = json.loads((self.out / "manifest.json").read_text())
            self.assertEqual(manifest.get("decode0_row"), "freed" if decode else None)
        for name in TYPES:
            model = tiny(name)
            cache, cache_name = cache_of(model)
            ids = torch.tensor([TOKENS])
            with torch.no_grad():
                model(ids, use_cache=True, **{cache_name: cache})
                kept = [(layer.keys, layer.values) for layer in cache.layers]
                cache.crop(-1)
                model(ids[:, -1:], use_cache=True, **{cache_name: cache},
                      position_ids=torch.tensor([[len(TOKENS) - 1]]))
            for layer, (keys, values) in zip(cache.layers, kept):
                self.assertNotEqual(layer.keys.untyped_storage().data_ptr(), keys.untyped_storage().data_ptr(), name)
                self.assertNotEqual(layer.values.untyped_storage().data_ptr(), values.untyped_storage().data_ptr(), name)

    def test_a_batch_of_equal_lengths_has_no_mask(self):
        model, tokens = tiny("llama", "sdpa"), [TOKENS, TOKENS[::-1]]
        capture(model, tokens, self.out)
        for at in range(2):
            self.check(model, "llama", tokens[at], f"prompt.{at}")

    def test_chunks_and_steps_on_a_cache_that_slides(self):
        for name in ("gemma3", "mistral"):
            for sizes in ([3, 2, 1, 1], [5, 1, 1], [1, 6], [4, 3]):
                with self.subTest(type=name, sizes=sizes), torch.no_grad():
                    model = tiny(name)
                    _, keyword = cache_of(model)
                    cache, phases, first = transformers.DynamicCache(config=model.config), {}, 0
                    with Recorder(model, self.another(), tokens=TOKENS) as recorder:
                        for n, size in enumerate(sizes):
                            phases[f"chunk{n}"] = range(first, first + size)
                            with recorder.phase(f"chunk{n}", phases[f"chunk{n}"]):
                                model(torch.tensor([TOKENS[first:first + size]]), use_cache=True, **{keyword: cache})
                            first += size
                    self.assertLess(cache.layers[0].keys.shape[-2], WINDOW)  # it did slide
                    self.check(model, name, phases=phases)

    def test_the_decoder_of_a_model_that_also_sees(self):
        for attention in ("eager", "sdpa"):
            model = tiny_with_vision(attention)
            capture(model, TOKENS, self.another())
            self.check(model, "gemma3")

    def test_the_last_logits_only(self):
        model = tiny("granite")
        with torch.no_grad(), Recorder(model, self.out, tokens=TOKENS) as recorder:
            with recorder.phase("prefill", range(len(TOKENS))):
                model(torch.tensor([TOKENS]), logits_to_keep=1)
        self.assertEqual(self.read()["prefill", -1, "logits"][1], [len(TOKENS) - 1])

    def test_halves_when_the_gguf_has_them(self):
        model = tiny("llama")
        capture(model, TOKENS, self.out, rope_rows="halves")
        rows = self.read()["prefill", 0, "q"][0]
        capture(model, TOKENS, self.another())
        pairs = self.read()["prefill", 0, "q"][0]
        halves = pairs.reshape(len(pairs), -1, DIM // 2, 2).swapaxes(-1, -2).reshape(pairs.shape)
        self.assertTrue((rows == halves).all())

    def test_leaves_the_model_as_it_was(self):
        for attention in ("eager", "sdpa"):
            model, ids = tiny("llama", attention), torch.tensor([TOKENS])
            functions = sys.modules[type(model).__module__]
            names = ("apply_rotary_pos_emb", "eager_attention_forward", "ALL_ATTENTION_FUNCTIONS")
            before = [*(getattr(functions, name) for name in names), torch.nn.functional.softmax]
            with torch.no_grad():
                logits = model(ids).logits
                capture(model, TOKENS, self.another())
                self.assertTrue((model(ids).logits == logits).all())
            self.assertEqual(before, [*(getattr(functions, name) for name in names), torch.nn.functional.softmax])
            self.assertFalse(any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()))

    def test_parts_and_formats(self):
        capture(tiny("qwen2"), TOKENS, self.out, layers=[1], stages=["q", "qk"])
        self.assertEqual({(e["layer"], e["stage"]) for e in self.events()}, {(1, "q"), (1, "qk")})
        for dtype, name in [(torch.bfloat16, "bf16"), (torch.float16, "f16")]:
            capture(tiny("llama", dtype=dtype), TOKENS[:1], self.another())
            self.assertEqual({e["dtype"] for e in self.events()}, {name})
            self.assertEqual(self.read()["decode0", 0, "kv_write"][0].shape, (1, 2 * KV_HEADS * DIM))


class Refused(unittest.TestCase):
    """In one line, and before anything is written."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "b"

    def refuses(self, model, said, **options):
        with self.assertRaisesRegex(ValueError, said) as caught:
            capture(model, TOKENS, self.out, **options)
        self.assertNotIn("\n", str(caught.exception))
        self.assertFalse(self.out.exists())

    def test_a_type_whose_layers_are_not_known(self):
        common = {"vocab_size": 16, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1,
                  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "attn_implementation": "eager",
                  "pad_token_id": None}
        for kind, model_type in [("Cohere", "cohere"), ("Glm4", "glm4")]:
            model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**common))
            self.refuses(model, f'model type "{model_type}" are built is not known; known are llama, .*phi3')
            self.refuses(model, "layer 0 has ", layout="llama")
        gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=16))
        self.refuses(gpt2, '"gpt2"')

    def test_a_layer_that_is_not_as_its_type_says(self):
        model = tiny("llama")
        model.model.layers[1].self_attn.q_norm = torch.nn.Identity()
        self.refuses(model, "layer 1 has self_attn.q_norm, whose part in it is not known")
        model = tiny("olmo2")
        del model.model.layers[0].post_feedforward_layernorm
        self.refuses(model, "layer 0 has no post_feedforward_layernorm")

    def test_a_type_of_ones_own_is_said_to_be_like_a_known_one(self):
        model = tiny("qwen3")
        model.config.model_type = "mine"
        self.refuses(model, '"mine"')
        capture(model, TOKENS, self.out, layout="qwen3")
        self.assertTrue(json.loads((self.out / "manifest.json").read_text())["complete"])

    def test_what_it_cannot_see(self):
        model = tiny("llama")
        model.config._attn_implementation = "flex_attention"
        self.refuses(model, 'attention "flex_attention" is not known')
        model.config._attn_implementation = "eager"
        self.refuses(model, "no layer 2", layers=[2])
        self.refuses(model, "no such stage: x", stages=["x"])

    def test_positions_and_caches_that_cannot_be_right(self):
        model, ids = tiny("llama"), torch.tensor([TOKENS])
        static = transformers.StaticCache(config=model.config, max_cache_len=32)
        filled, keyword = cache_of(model)
        with torch.no_grad():
            model(ids, use_cache=True, **{keyword: filled})
            cases = [([range(7)], {}, torch.cat((ids, ids)), "a batch of 2"),
                     ([range(7)], {keyword: static}, ids, "use a DynamicCache"),
                     ([range(9, 16)], {keyword: filled}, ids, "no phase")]
            for at, (positions, arguments, tokens, said) in enumerate(cases):
                with Recorder(model, self.out.with_name(str(at)), tokens=TOKENS) as recorder:
                    with self.assertRaisesRegex(ValueError, said), recorder.phase("prefill", positions):
                        model(tokens, use_cache=True, **arguments)
            with Recorder(model, self.out, tokens=TOKENS) as recorder:
                for positions, said in [([[0, 1], [0, 1]], "positions of 2 sequences for 1"),
                                        ([[0, 2]], "follow each other"), ([[-1, -1]], "one at least")]:
                    with self.assertRaisesRegex(ValueError, said), recorder.phase("prefill", positions):
                        pass

    def test_a_crash_leaves_an_incomplete_bundle_and_a_stage_that_did_not_show_a_warning(self):
        model = tiny("llama")
        model.model.layers[0].mlp.down_proj.forward = None  # in the middle of a run
        with self.assertRaises(TypeError):
            capture(model, TOKENS, self.out)
        self.assertFalse(json.loads((self.out / "manifest.json").read_text())["complete"])
        for attention, missing in [("eager", 40), ("sdpa", 36)]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with Recorder(tiny("llama", attention), self.out.with_name(attention)) as recorder:
                    with recorder.phase("prefill", [0]):
                        pass
            self.assertRegex(str(caught[0].message), f"prefill: {missing} stages not seen")
        self.assertIn("ffn_post_norm", STAGES)


if __name__ == "__main__":
    unittest.main()
