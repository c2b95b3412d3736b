"""Quantised checkpoints, and those with experts: checkpoint_formats_test.py --greta PROGRAM

Each form is written by tiny_directory.py, beside it the same numbers as plain f32: all stages of a run must have the
same bits. A mixture of experts is also held against a GGUF of it. Numpy only; CTest runs it."""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "docs"))
import tiny_directory as tiny  # noqa: E402
import tiny_model as gguf  # noqa: E402


def write_gguf(path, config, tensors):
    """Of the architectures with experts, f32."""
    kind = {"mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}[config["model_type"]]

    def uint(n):
        return 4, struct.pack("<I", n)

    def real(x):
        return 6, struct.pack("<f", x)

    values = {
        "general.architecture": (8, gguf.string(kind)), "block_count": uint(2), "context_length": uint(64),
        "embedding_length": uint(64), "feed_forward_length": uint(144), "attention.head_count": uint(4),
        "attention.head_count_kv": uint(2), "attention.key_length": uint(16), "attention.value_length": uint(16),
        "attention.layer_norm_rms_epsilon": real(1e-5), "rope.freq_base": real(10000.0),
        "rope.dimension_count": uint(16), "expert_count": uint(5), "expert_used_count": uint(2),
        **({} if kind == "llama" else {"expert_feed_forward_length": uint(32)}),
        **({"expert_shared_feed_forward_length": uint(144)} if kind == "qwen2moe" else {}),
        "tokenizer.ggml.model": (8, gguf.string("gpt2")), "tokenizer.ggml.pre": (8, gguf.string("smollm")),
        "tokenizer.ggml.tokens": gguf.strings("abcdefghijklmnopqrstuvwxyz"),
        "tokenizer.ggml.merges": gguf.strings([]), "tokenizer.ggml.add_bos_token": (7, b"\0"),
        "tokenizer.ggml.token_type": (9, struct.pack("<IQ26i", 5, 26, *[1] * 26))}
    values = {name if "." in name and name.split(".")[0] in ("general", "tokenizer") else f"{kind}.{name}": value
              for name, value in values.items()}
    data, table = b"", b""
    for name, array in tensors.items():
        table += gguf.string(name) + struct.pack(f"<I{array.ndim}QIQ", array.ndim, *reversed(array.shape), 0, len(data))
        data += array.astype("<f4").tobytes()
        data += bytes(-len(data) % gguf.ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(gguf.string(name) + struct.pack("<I", kind) + value for name, (kind, value) in values.items())
    head += table
    path.write_bytes(head + bytes(-len(head) % gguf.ALIGNMENT) + data)


class Directories(unittest.TestCase):
    greta = None

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def hashes(self, model, name):
        """(phase, layer, stage) -> hash of a run."""
        out, prompt = self.folder / f"trace-{name}", self.folder / "prompt.txt"
        prompt.write_text("hello" * 3)
        run = subprocess.run([self.greta, "trace", "-m", model, "-p", prompt, "--out", out, "--threads", "1"],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
        return {(e["phase"], e["layer"], e["stage"]): e["hash"] for e in events}

    def test_quantised(self):
        for at, name in enumerate(tiny.FORMATS):
            with self.subTest(format=name):
                folder = self.folder / str(at)
                tiny.write_pair(folder, name)
                stored, plain = self.hashes(folder / "stored", f"s{at}"), self.hashes(folder / "plain", f"p{at}")
                self.assertGreater(len(plain), 60)
                self.assertEqual(stored, plain)

    def test_experts(self):
        for model_type in ("mixtral", "qwen2_moe", "qwen3_moe"):
            with self.subTest(type=model_type):
                config, tensors = tiny.experts_model(model_type, np.random.default_rng(5))
                folder = self.folder / model_type
                tiny.write(folder / "apart", tensors, config)
                tiny.write(folder / "fused", tiny.fused(tensors), config)
                write_gguf(folder / "model.gguf", config, tiny.gguf_tensors(config, tensors))
                apart = self.hashes(folder / "apart", model_type + "-apart")
                self.assertIn(("decode0", 1, "experts_out"), apart)
                self.assertEqual(apart, self.hashes(folder / "fused", model_type + "-fused"))
                self.assertEqual(apart, self.hashes(folder / "model.gguf", model_type + "-gguf"))

    def test_experts_in_mxfp4(self):
        """As gpt-oss stores them, in a family whose experts are joined alike."""
        random = np.random.default_rng(7)
        config, tensors = tiny.experts_model("qwen3_moe", random)
        plain = tiny.fused(tensors)
        stored = dict(plain)
        for name in [name for name in plain if ".experts." in name]:
            blocks, scales, values = tiny.mxfp4(random, *plain[name].shape)
            plain[name] = values.astype(np.float32)
            del stored[name]
            stored[name + "_blocks"], stored[name + "_scales"] = blocks, scales
        tiny.write(self.folder / "plain", plain, config)
        tiny.write(self.folder / "stored", stored, config, {"quant_method": "mxfp4"})
        self.assertEqual(self.hashes(self.folder / "stored", "s"), self.hashes(self.folder / "plain", "p"))

    def test_experts_of_gpt_oss(self):
        """In MXFP4 their rows are rows; as numbers they lie the other way round."""
        random = np.random.default_rng(9)
        config, tensors = tiny.gpt_oss_model(random)
        plain, stored = dict(tensors), dict(tensors)
        for name in [name for name in tensors if name.endswith("experts.gate_up_proj") or name.endswith("down_proj")]:
            experts, columns, rows = tensors[name].shape
            blocks, scales, values = tiny.mxfp4(random, experts, rows, columns)
            plain[name] = np.ascontiguousarray(values.swapaxes(1, 2), np.float32)
            del stored[name]
            stored[name + "_blocks"], stored[name + "_scales"] = blocks, scales
        tiny.write(self.folder / "plain", plain, config)
        tiny.write(self.folder / "stored", stored, config, {"quant_method": "mxfp4"})
        hashes = self.hashes(self.folder / "stored", "s")
        self.assertIn(("decode0", 1, "experts_out"), hashes)
        self.assertEqual(hashes, self.hashes(self.folder / "plain", "p"))

    def refusal(self, tensors, config, command, *options):
        """The one line with which a command refuses such a directory."""
        folder = self.folder / f"bad{len(list(self.folder.glob('bad*')))}"
        tiny.write(folder, tensors, config)
        run = subprocess.run([self.greta, command, "-m", folder, *options], capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr.count("\n")), (2, 1), run.stderr)
        return run.stderr

    def test_gpt_oss_that_is_wrong(self):
        config, tensors = tiny.gpt_oss_model(np.random.default_rng(9))
        name = "model.layers.1.mlp.experts.gate_up_proj"

        def said_of(change, said=config):
            changed = dict(tensors)
            change(changed)
            return self.refusal(changed, said, "plan")

        self.assertIn("expected [experts, 2 rows, columns]", said_of(
            lambda t: t.__setitem__(name, np.zeros((5, 64, 63), np.float32))))
        self.assertIn("expected [experts, columns, rows]", said_of(
            lambda t: t.__setitem__(name, np.zeros((5, 64), np.float32))))
        self.assertIn("expected [experts, 2 rows]", said_of(
            lambda t: t.__setitem__(name + "_bias", np.zeros((5, 64, 1), np.float32))))
        self.assertIn("self_attn.sinks is missing", said_of(lambda t: t.pop("model.layers.0.self_attn.sinks")))
        self.assertIn("experts.gate_proj.bias is missing", said_of(lambda t: t.pop(name + "_bias")))
        self.assertIn("the hyperparameters demand [64, 32, 5]", said_of(
            lambda t: t.__setitem__(name, np.zeros((5, 32, 128), np.float32))))
        self.assertIn("another clamp", said_of(lambda t: None, {**config, "swiglu_limit": 6.0}))
        self.assertIn('"truncate"', said_of(lambda t: None, {**config, "rope_scaling": {
            **config["rope_scaling"], "truncate": True}}))

    def test_latent_attention_that_is_not_absorbed(self):
        """As transformers computes it: keys and values of all heads from the latent. Nothing between q_rope and
        head_out is recorded, and the judge makes that in the absorbed form."""
        config, tensors = tiny.deepseek_model(np.random.default_rng(9))
        tiny.write(self.folder / "m", tensors, config)
        self.hashes(self.folder / "m", "m")
        bundle = self.folder / "trace-m"
        events = [json.loads(line) for line in (bundle / "events.jsonl").read_text().splitlines()]
        rows = {(e["phase"], e["stage"]): (e["positions"][0], tiny.load(bundle / e["file"])[e["tensor"]])
                for e in events if e["layer"] == 0 and "file" in e and e["stage"] in ("q_rope", "k_rope", "v_norm")}
        heads, nope, rope, out = (tiny.MLA[name] for name in ("heads", "nope", "rope", "out"))
        kv_b = tensors["model.layers.0.self_attn.kv_b_proj.weight"]
        stretch = 1 + 0.1 * np.log(4.0)
        scale = np.float32(stretch**2 / np.sqrt(nope + rope))

        def head_out(phase, kv_b):
            first, q = rows[phase, "q_rope"]
            _, latent = rows["prefill", "v_norm"]
            _, turned = rows["prefill", "k_rope"]
            made = (latent @ kv_b.T).reshape(len(latent), heads, nope + out)
            keys = np.concatenate((made[..., :nope], np.repeat(turned[:, None], heads, 1)), -1)
            q = q.reshape(len(q), heads, nope + rope)
            scores = np.einsum("shd,phd->hsp", q, keys) * scale
            hidden = np.arange(len(latent))[None] > first + np.arange(len(q))[:, None]
            weights = np.exp(np.where(hidden, -np.inf, scores - scores.max(-1, keepdims=True)))
            weights /= weights.sum(-1, keepdims=True)
            return np.einsum("hsp,phd->shd", weights, made[..., nope:]).reshape(len(q), -1).astype(np.float32)

        known = ("x_in", "attn_norm", "q_a", "q_a_norm", "q", "k", "v", "v_norm", "q_rope", "k_rope")

        def judged(name, kv_b):
            folder, kept, data = self.folder / name, [], {}
            folder.mkdir()
            for event in events:
                if event["layer"] != 0 or "file" not in event or event["stage"] not in (*known, "head_out"):
                    continue
                values = tiny.load(bundle / event["file"])[event["tensor"]]
                if event["stage"] == "head_out":
                    values = head_out(event["phase"], kv_b)
                data[event["tensor"]] = values
                kept.append({key: event[key] for key in ("cell", "experiment", "prompt_id", "phase", "layer", "stage",
                                                         "positions", "shape", "dtype", "tensor", "kernel")}
                            | {"file": "tensors.safetensors"})
            tiny.save(folder / "tensors.safetensors", data)
            (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
            manifest = json.loads((bundle / "manifest.json").read_text())
            (folder / "manifest.json").write_text(json.dumps({**manifest, "kernels": {}, "engine": "another"}))
            run = subprocess.run([self.greta, "diagnose", folder, "-m", self.folder / "m", "--json"],
                                 capture_output=True, text=True)
            self.assertTrue(run.stdout, run.stderr)
            return run.returncode, json.loads(run.stdout)

        code, verdict = judged("right", kv_b)
        self.assertEqual((code, verdict["findings"]), (0, []))
        self.assertEqual(verdict["coverage"]["judged"], verdict["coverage"]["recorded"])
        other = kv_b.copy()
        other[nope : nope + out] = kv_b[nope + (nope + out) : nope + out + (nope + out)]  # the next head's values
        code, verdict = judged("wrong", other)
        self.assertEqual(code, 1)
        self.assertEqual({(f["layer"], f["stage"]) for f in verdict["findings"]}, {(0, "head_out")})

    def test_deepseek_that_is_wrong(self):
        config, tensors = tiny.deepseek_model(np.random.default_rng(9))
        attention, mlp = "model.layers.1.self_attn.", "model.layers.1.mlp."

        def said_of(change=lambda t: None, **said):
            changed = dict(tensors)
            change(changed)
            return self.refusal(changed, {**config, **said}, "plan")

        def put(name, *shape):
            return lambda t: t.__setitem__(name, np.zeros(shape, np.float32))

        self.assertIn("4 heads of 32 and 24 rows need 224", said_of(put(attention + "kv_b_proj.weight", 225, 32)))
        self.assertIn("attn_v_b.weight is missing", said_of(lambda t: t.pop(attention + "kv_b_proj.weight"))
                      .replace("attn_k_b", "attn_v_b"))
        self.assertIn("kv_a_proj_with_mqa.weight has the shape", said_of(put(attention + "kv_a_proj_with_mqa.weight",
                                                                             63, 64)))
        self.assertIn("has the shape", said_of(put(mlp + "gate.e_score_correction_bias", 7)))
        self.assertIn('"kv_lora_rank" is missing', said_of(kv_lora_rank=None))
        self.assertIn('"qk_rope_head_dim"', said_of(qk_rope_head_dim=None))
        self.assertIn("(2i, 2i + 1)", said_of(rope_interleave=False))
        self.assertIn("GRETA computes noaux_tc", said_of(topk_method="greedy"))
        self.assertIn('is not "sigmoid"', said_of(scoring_func="softmax"))
        self.assertIn("8 experts in 3 groups", said_of(n_group=3))
        self.assertIn("mlp.experts.down_proj.weight; not supported", said_of(first_k_dense_replace=2))
        self.assertIn("biases", said_of(put(attention + "o_proj.bias", 64)))

    def test_longrope_that_is_wrong(self):
        random = np.random.default_rng(3)
        tensors = tiny.rest(random)
        tensors |= {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in tiny.matrices().items()}

        def said_of(**scaling):
            rope = {"rope_type": "longrope", "original_max_position_embeddings": 16, "short_factor": [1.0] * 8,
                    "long_factor": [2.0] * 8, **scaling}
            config = {"model_type": "llama", **tiny.SIZES, "rope_scaling": {k: v for k, v in rope.items() if v}}
            return self.refusal(tensors, config, "run", "-p", "abc" * 9, "-n", "1")

        self.assertIn("--context 28 takes the long ones", said_of())
        self.assertIn('"long_factor" is missing', said_of(long_factor=None))
        self.assertIn("has 7 numbers; a head has 8 rotated pairs", said_of(short_factor=[1.0] * 7))
        self.assertIn("holds what is no number", said_of(short_factor=["1"] * 8))
        self.assertIn("must be finite and above 0", said_of(long_factor=[1.0] * 7 + [-1.0]))
        self.assertIn('"original_max_position_embeddings"', said_of(original_max_position_embeddings=None))

    def test_experts_in_fp8(self):
        """Each expert's matrix by itself, before they are joined."""
        random = np.random.default_rng(8)
        config, tensors = tiny.experts_model("qwen2_moe", random)
        stored = dict(tensors)
        for name in [name for name in tensors if ".experts." in name]:
            parts, values = tiny.fp8_blocks(random, *tensors[name].shape)
            tensors[name] = values.astype(np.float32)
            stored[name], stored[name + "_scale_inv"] = parts["weight"], parts["weight_scale_inv"]
        tiny.write(self.folder / "plain", tensors, config)
        tiny.write(self.folder / "stored", stored, config, tiny.FORMATS["fp8 blocks"][1])
        self.assertEqual(self.hashes(self.folder / "stored", "s"), self.hashes(self.folder / "plain", "p"))

    # What is wrong

    def refused(self, name, change=None, quantisation=None):
        """The one line that `info` says of a directory of the format, changed."""
        folder = self.folder / f"bad{len(list(self.folder.glob('bad*')))}"
        store, said = tiny.FORMATS[name]
        random = np.random.default_rng(1)
        tensors = tiny.rest(random)
        for matrix, (rows, columns) in tiny.matrices().items():
            tensors.update({f"{matrix}.{part}": tensor for part, tensor in store(random, rows, columns)[0].items()})
        if change:
            change(tensors)
        tiny.write(folder, tensors, {"model_type": "llama", **tiny.SIZES}, quantisation or said)
        run = subprocess.run([self.greta, "info", "-m", folder], capture_output=True, text=True)
        self.assertEqual(run.returncode, 2, run.stdout[-300:] + run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        return run.stderr

    Q = "model.layers.0.self_attn.q_proj."

    def test_parts_that_are_missing_or_do_not_fit(self):
        def without(part):
            return lambda tensors: tensors.pop(self.Q + part)

        def put(part, value):
            return lambda tensors: tensors.__setitem__(self.Q + part, value)

        self.assertIn("q_proj.weight_scale is missing", self.refused("fp8 rows", without("weight_scale")))
        self.assertIn("q_proj.scales is missing", self.refused("gptq", without("scales")))
        self.assertIn("q_proj.qzeros is missing", self.refused("awq", without("qzeros")))
        self.assertIn("weight_shape is missing", self.refused("packed", without("weight_shape")))
        self.assertIn("needs model.layers.0.self_attn.q_proj.qzeros as I32 of [4, 8]", self.refused(
            "gptq", put("qzeros", np.zeros((4, 9), np.int32))))
        self.assertIn("puts column 3 into group 9 of 4", self.refused(
            "gptq", put("g_idx", np.array([0, 0, 0, 9] + [0] * 60, np.int32))))
        self.assertIn("which does not divide it", self.refused(
            "fp8 blocks", put("weight_scale_inv", np.ones((3, 1), np.float32))))
        self.assertIn("is no matrix of [63, 64] by codes of 4 bits", self.refused(
            "packed", put("weight_shape", np.array([63, 64], np.int64))))
        self.assertIn("is there beside", self.refused("gptq", put("weight", np.zeros((64, 64), np.float32))))

    def test_methods_that_are_not_known(self):
        said = self.refused("awq", quantisation={"quant_method": "bitsandbytes"})
        self.assertIn("by bitsandbytes; GRETA reads fp8, fbgemm_fp8, gptq, awq, mxfp4, compressed-tensors", said)
        self.assertIn("gemv", self.refused("awq", quantisation={"quant_method": "awq", "version": "gemv"}))
        self.assertIn("is 3; of gptq GRETA reads 2, 4, 8", self.refused(
            "gptq", quantisation={"quant_method": "gptq", "bits": 3}))
        self.assertIn("nvfp4-pack-quantized", self.refused(
            "packed", quantisation=tiny.group_of(format="nvfp4-pack-quantized", num_bits=4, type="float")))
        self.assertIn("no tensor is stored so", self.refused(
            "fp8 rows", quantisation={"quant_method": "gptq", "bits": 4}))

    def test_experts_that_are_missing_or_differ(self):
        config, tensors = tiny.experts_model("qwen3_moe", np.random.default_rng(5))
        name = "model.layers.1.mlp.experts.2.up_proj.weight"

        def said_of(change):
            changed = dict(tensors)
            change(changed)
            return self.refusal(changed, config, "info")

        self.assertIn("expert 2 is missing", said_of(lambda t: t.pop(name)))
        self.assertIn("expert 0's is F32 of [32, 64]", said_of(
            lambda t: t.__setitem__(name, np.zeros((31, 64), np.float32))))

    def test_a_type_that_nobody_knows(self):
        """Its projections are judged; norms, which may multiply by 1 + weight, are not."""
        config, tensors = tiny.experts_model("qwen3_moe", np.random.default_rng(5))
        plain = {name: values for name, values in tensors.items() if ".mlp." not in name}
        for layer in range(2):
            for name, shape in (("gate_proj", (144, 64)), ("up_proj", (144, 64)), ("down_proj", (64, 144))):
                plain[f"model.layers.{layer}.mlp.{name}.weight"] = np.random.default_rng(layer).standard_normal(
                    shape, np.float32) / 8
        sizes = {"model_type": "qwen3", **tiny.SIZES}
        tiny.write(self.folder / "known", plain, sizes)
        self.hashes(self.folder / "known", "known")
        tiny.write(self.folder / "unknown", plain, {**sizes, "model_type": "novel"})
        bundle = self.folder / "trace-known"
        manifest = json.loads((bundle / "manifest.json").read_text())
        del manifest["model"]
        (bundle / "manifest.json").write_text(json.dumps(manifest))

        def judge():
            run = subprocess.run([self.greta, "diagnose", bundle, "-m", self.folder / "unknown", "--json"],
                                 capture_output=True, text=True)
            self.assertTrue(run.stdout, run.stderr)
            return run.returncode, json.loads(run.stdout)

        code, verdict = judge()
        self.assertEqual((code, verdict["findings"]), (4, []))
        self.assertGreater(verdict["coverage"]["judged"], 20)
        plain["model.layers.1.mlp.up_proj.weight"] = plain["model.layers.1.mlp.up_proj.weight"][::-1].copy()
        tiny.write(self.folder / "other", plain, {**sizes, "model_type": "novel"})
        (self.folder / "unknown").rename(self.folder / "right")
        (self.folder / "other").rename(self.folder / "unknown")
        code, verdict = judge()
        self.assertEqual(code, 1)
        self.assertEqual({(f["layer"], f["stage"]) for f in verdict["findings"]}, {(1, "up")})
        run = subprocess.run([self.greta, "run", "-m", self.folder / "unknown", "-p", "a"], capture_output=True,
                             text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("novel", run.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    arguments, rest = parser.parse_known_args()
    Directories.greta = arguments.greta
    unittest.main(argv=[sys.argv[0], *rest])
