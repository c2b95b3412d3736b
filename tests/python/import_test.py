"""Dumps of other tools, imported and judged: import_test.py --greta PROGRAM

tests/python/import_dumps.py writes each format as documented, from a small engine with these tools' modules and a
random model, once right and once with a bug. Clean: exit code 0, or 4 where something is left out; broken: 1, and the
first finding at its place. Exit code 77 (skipped) without numpy, torch, transformers and safetensors."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import save_file
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

import import_dumps as dumps
from serving_model import ServingModel

PROMPTS = [list(range(5, 22)), list(range(30, 39))]
STEPS = 3


def tiny(model_type, folder, dtype=torch.float32):
    """A random model in `folder`, of heads whose number two and four ranks share."""
    torch.manual_seed(11)
    kind = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}[model_type]
    config = kind(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=8,
                  num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, max_position_embeddings=128,
                  tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    for name, weight in sorted(model.named_parameters()):
        if "norm" in name:
            weight.data.uniform_(0.5, 1.5)
        else:
            weight.data.normal_(0, 1 / np.sqrt(weight.shape[-1]))
    model = model.to(dtype).eval()
    model.save_pretrained(folder)
    return model


class Imported(unittest.TestCase):
    greta = None

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def engine(self, model_type="llama", dtype=torch.float32):
        self.model = self.folder / "model"
        engine = ServingModel(tiny(model_type, self.model, dtype))
        return engine, dumps.Watcher(engine)

    def run_greta(self, *arguments):
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"  # the Python that has what this one has
        return subprocess.run([self.greta, *map(str, arguments)], capture_output=True, text=True,
                              env={**os.environ, "PATH": path})

    def imported(self, name, path, *options):
        out = self.folder / f"bundle-{len(list(self.folder.glob('bundle-*')))}"
        run = self.run_greta("import", name, path, "--out", out, *options)
        self.assertEqual(run.returncode, 0, run.stderr)
        return out, run.stderr

    def judged(self, bundle, model=True):
        run = self.run_greta("diagnose", bundle, *(["-m", self.model] if model else []), "--json", "--threads", "1")
        self.assertTrue(run.stdout, run.stderr)
        verdict = json.loads(run.stdout)
        found = [(f["layer"], f["stage"], f["phase"]) for f in verdict["findings"]]
        return run.returncode, found, verdict

    def judged_clean(self, bundle, codes=(0,), model=True):
        code, found, verdict = self.judged(bundle, model)
        self.assertEqual(found, [], [f.get("noise_ratio") for f in verdict["findings"]])
        self.assertIn(code, codes, verdict["flags"])
        return verdict

    def refused(self, *arguments):
        """The one line."""
        run = self.run_greta("import", *arguments, "--out", self.folder / "refused")
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        self.assertFalse((self.folder / "refused").exists())
        return run.stderr

    # SGLang and vLLM

    def judged_stages(self, bundle):
        events = [json.loads(line) for line in (bundle / "events.jsonl").read_text().splitlines()]
        return {(e["prompt_id"], e["phase"], e["layer"], e["stage"]) for e in events}

    def test_sglang_dumper(self):
        for model_type, dtype in (("llama", torch.float32), ("qwen3", torch.bfloat16)):
            with self.subTest(type=model_type):
                engine, watcher = self.engine(model_type, dtype)
                dumps.sglang_dumper(self.folder / model_type, engine, engine.serve(PROMPTS, STEPS), watcher)
                bundle, said = self.imported("auto", self.folder / model_type, "-m", self.model)
                self.judged_clean(bundle)
                stages = self.judged_stages(bundle)
                for stage in ("x_in", "q", "q_rope", "kv_write", "pv", "attn_out", "x_attn", "gate", "act", "x_out"):
                    for phase in ("prefill", "decode0", "decode2"):
                        self.assertIn(("r1", phase, 1, stage), stages)
                self.assertIn(("r0", "decode1", -1, "logits"), stages)

    def test_sglang_hooks_and_ranks(self):
        for ranks in (1, 2, 4):  # of four, two share a kv head
            with self.subTest(ranks=ranks):
                engine, watcher = self.engine("qwen3" if ranks == 2 else "llama")
                dumps.sglang_hooks(self.folder / str(ranks), engine, engine.serve(PROMPTS, STEPS), watcher, ranks)
                bundle, _ = self.imported("sglang", self.folder / str(ranks), "-m", self.model)
                self.judged_clean(bundle, codes=(0, 4))
                stages = self.judged_stages(bundle)
                self.assertIn(("r0", "decode0", 1, "k_rope"), stages)
                self.assertNotIn(("r0", "decode0", 0, "k_rope"), stages)  # the dump has the last layer's alone

    def test_a_bug_in_decode_is_found(self):
        engine, watcher = self.engine()
        attention = engine.model.layers[1].self_attn.attn
        right = attention.forward

        def wrong(q, k, v, batch):  # of the cache, decode does not see the first four positions
            out = right(q, k, v, batch)
            for request, begin, end in batch.rows:
                if end - begin == 1:
                    whole, attention.caches[request] = attention.caches[request], attention.caches[request][:, 4:-1]
                    row = dumps_batch(request)
                    out[begin] = right(q[begin:end], k[begin:end], v[begin:end], row)[0]
                    attention.caches[request] = whole
            return out

        def dumps_batch(request):
            from serving_model import Batch
            return Batch([(request, 0, 1)], None)

        attention.forward = wrong
        dumps.sglang_dumper(self.folder / "dump", engine, engine.serve(PROMPTS, STEPS), watcher)
        bundle, _ = self.imported("sglang", self.folder / "dump", "-m", self.model)
        code, found, _ = self.judged(bundle)
        self.assertEqual(code, 1)
        self.assertEqual({(layer, stage, phase) for layer, stage, phase in found if stage == "pv"}, set(found))
        self.assertEqual(found[0][:2], (1, "pv"))
        self.assertTrue(all("decode" in phase for _, _, phase in found), found)

    def test_a_bug_in_a_product_is_named(self):
        engine, watcher = self.engine()
        product = engine.model.layers[0].mlp.gate_up_proj
        gate, up = product.weight.data.chunk(2)
        product.weight.data = torch.cat((up, gate))
        dumps.vllm(self.folder / "dump", engine, engine.serve(PROMPTS, STEPS), watcher, ranks=2)
        bundle, _ = self.imported("auto", self.folder / "dump", "-m", self.model)
        code, found, verdict = self.judged(bundle)
        self.assertEqual((code, found[0][:2]), (1, (0, "gate")))
        self.assertEqual(verdict["findings"][0]["hypothesis"], "swapped_weight")

    def test_vllm_ranks(self):
        for model_type, ranks in (("llama", 1), ("qwen3", 2), ("llama", 4)):
            with self.subTest(ranks=ranks):
                engine, watcher = self.engine(model_type)
                dumps.vllm(self.folder / str(ranks), engine, engine.serve(PROMPTS, STEPS, chunk=8), watcher, ranks)
                bundle, _ = self.imported("vllm", self.folder / str(ranks), "-m", self.model)
                self.judged_clean(bundle)

    def test_a_missing_rank_and_another_model(self):
        engine, watcher = self.engine()
        dumps.vllm(self.folder / "dump", engine, engine.serve(PROMPTS, 1), watcher, ranks=2)
        shutil.rmtree(self.folder / "dump/tp0-pp0")
        self.assertIn("ranks 1 are there", self.refused("vllm", self.folder / "dump", "-m", self.model))
        shutil.move(self.folder / "dump/tp1-pp0", self.folder / "dump/tp0-pp0")
        self.assertIn("a rank is missing?", self.refused("vllm", self.folder / "dump", "-m", self.model))
        self.assertIn("-m MODEL is needed", self.refused("vllm", self.folder / "dump"))

    def test_files_that_are_damaged(self):
        engine, watcher = self.engine()
        dumps.sglang_hooks(self.folder / "hooks", engine, engine.serve(PROMPTS, 1), watcher)
        file = next((self.folder / "hooks").glob("*/Pass00001.pt"))
        file.write_bytes(file.read_bytes()[:-999])
        self.assertIn("torch cannot read it", self.refused("sglang", self.folder / "hooks", "-m", self.model))
        torch.save([1], file)
        self.assertIn("expected a dictionary", self.refused("sglang", self.folder / "hooks", "-m", self.model))
        (self.folder / "empty").mkdir()
        self.assertIn("no dump that is known", self.refused("auto", self.folder / "empty"))
        self.assertIn("no dump of sglang", self.refused("sglang", self.folder / "empty", "-m", self.model))
        self.assertIn("is not there", self.refused("npy", self.folder / "nowhere"))

    def test_a_file_of_torch_runs_nothing(self):
        class Evil:
            def __reduce__(self):
                return (pathlib.Path.touch, (pathlib.Path(self.witness),))

        evil = Evil()
        evil.witness = str(self.folder / "ran")
        folder = self.folder / "dump/TP0_PP0_Rank0_pid1"
        folder.mkdir(parents=True)
        torch.save({"x": evil}, folder / "Pass00000.pt")
        self.engine()
        self.assertIn("torch cannot read it", self.refused("sglang", self.folder / "dump", "-m", self.model))
        self.assertFalse((self.folder / "ran").exists())

    # FlashInfer

    def flashinfer(self, folder, wrong=None, dtype=torch.bfloat16, safetensors=True):
        """Calls of each kind; `wrong`: the function that is broken."""
        torch.manual_seed(3)
        call = {"n": 0}

        def record(name, function, arguments, keywords, result, owner=None):
            call["n"] += 1
            dumps.flashinfer_call(folder, name, call["n"], function, arguments, keywords, result, owner, safetensors)

        def random(*shape):
            return torch.randn(*shape).to(dtype)

        def single_decode_with_kv_cache(q, k, v, kv_layout="NHD", window_left: int = -1, sm_scale=None): ...
        def single_prefill_with_kv_cache(q, k, v, causal=False, kv_layout="NHD", logits_soft_cap=None): ...
        def plan(self, indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size, **kwargs): ...
        def run(self, q, paged_kv_cache, *args, out=None): ...
        def plan_ragged(self, qo_indptr, kv_indptr, num_qo_heads, num_kv_heads, head_dim_qk, causal=False): ...
        def run_ragged(self, q, k, v, *args): ...
        def rmsnorm(input, weight, eps=1e-6, out=None): ...
        def silu_and_mul(input, out=None): ...
        def mm_fp4(a, b): ...

        q, k, v = random(8, 16), random(21, 2, 16), random(21, 2, 16)
        window = 6 if wrong != "decode" else 7  # what it computes; it was asked for 6
        record("single_decode_with_kv_cache", single_decode_with_kv_cache, (q, k, v), {"window_left": 6},
               dumps.attention(q[None], k, v, window=window)[0])
        record("single_decode_with_kv_cache", single_decode_with_kv_cache, (q, k.swapaxes(0, 1), v.swapaxes(0, 1)),
               {"kv_layout": "HND"}, dumps.attention(q[None], k, v)[0])
        q = random(5, 8, 16)
        record("single_prefill_with_kv_cache", single_prefill_with_kv_cache, (q, k, v),
               {"causal": True, "logits_soft_cap": 5.0},
               dumps.attention(q, k, v, softcap=5.0, causal=wrong != "prefill"))
        pages, counts, of = random(9, 2, 4, 2, 16), [7, 4], [[3, 1], [6]]
        indptr, indices, last = (torch.tensor(x, dtype=torch.int32) for x in ([0, 2, 3], [3, 1, 6], [3, 4]))
        wrapper, q = "BatchDecodeWithPagedKVCacheWrapper", random(2, 8, 16)
        record(f"{wrapper}.plan", plan, (object(), indptr, indices, last, 8, 2, 16, 4), {}, None, owner=5)
        keys = [[pages[ids, kind].reshape(-1, 2, 16)[:count] for kind in (0, 1)] for ids, count in zip(of, counts)]
        if wrong == "paged":  # the last page's rows of the other request
            keys[0][0] = torch.cat((keys[0][0][:4], pages[6, 0, :3]))
        record(f"{wrapper}.run", run, (object(), q, (pages[:, 0], pages[:, 1])), {},
               torch.cat([dumps.attention(q[at:at + 1], *own) for at, own in enumerate(keys)]), owner=5)
        wrapper, q = "BatchPrefillWithRaggedKVCacheWrapper", random(6, 8, 16)
        starts = torch.tensor([0, 2, 6], dtype=torch.int32)
        k, v = random(6, 2, 16), random(6, 2, 16)
        record(f"{wrapper}.plan", plan_ragged, (object(), starts, starts, 8, 2, 16), {"causal": True}, None, owner=6)
        record(f"{wrapper}.run", run_ragged, (object(), q, k, v), {}, torch.cat(
            [dumps.attention(q[a:b], k[a:b], v[a:b]) for a, b in ((0, 2), (2, 6))]), owner=6)
        x, w = random(3, 64), random(64)
        wide = x.float()
        norm = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + (1e-5 if wrong != "norm" else 1)) * w.float()
        record("rmsnorm", rmsnorm, (x, w), {"eps": 1e-5}, norm.to(dtype))
        record("silu_and_mul", silu_and_mul, (x,), {},
               (torch.nn.functional.silu(wide[:, :32]) * wide[:, 32:]).to(dtype))
        if wrong == "unknown":
            record("mm_fp4", mm_fp4, (x, w), {}, x)

    def test_flashinfer(self):
        for dtype, safetensors in ((torch.bfloat16, True), (torch.float16, False)):
            folder = self.folder / str(safetensors)
            self.flashinfer(folder, dtype=dtype, safetensors=safetensors)
            bundle, said = self.imported("auto", folder)
            verdict = self.judged_clean(bundle, model=False)
            ops = [(op["name"], op["status"]) for op in verdict["ops"]]
            self.assertEqual([status for _, status in ops], ["WITHIN"] * 9, ops)  # of a batch one for each request

    def test_flashinfer_with_a_bug(self):
        for wrong, name in (("decode", "single_decode_with_kv_cache.0001"),
                            ("prefill", "single_prefill_with_kv_cache.0003"),
                            ("paged", "BatchDecodeWithPagedKVCacheWrapper.run.0005.r0"), ("norm", "rmsnorm.0008")):
            with self.subTest(wrong=wrong):
                self.flashinfer(self.folder / wrong, wrong)
                bundle, _ = self.imported("flashinfer", self.folder / wrong)
                code, _, verdict = self.judged(bundle, model=False)
                self.assertEqual(code, 1)
                self.assertIn(name, json.dumps(verdict["findings"]) + json.dumps(verdict.get("ops", [])))

    def test_flashinfer_call_without_a_word(self):
        self.flashinfer(self.folder / "dump", "unknown")
        bundle, said = self.imported("flashinfer", self.folder / "dump")
        self.assertIn("1 call of mm_fp4 not judged: GRETA has no word for it", said)
        self.judged_clean(bundle, codes=(4,), model=False)

    def test_flashinfer_that_is_damaged(self):
        self.flashinfer(self.folder / "dump")
        file = next((self.folder / "dump").glob("*rmsnorm*/inputs.safetensors"))
        file.write_bytes(file.read_bytes()[:40])
        self.assertIn("safetensors cannot read it", self.refused("flashinfer", self.folder / "dump"))
        (file.parent / "metadata.jsonl").write_text("{}\n")
        self.assertIn("no record of a call", self.refused("flashinfer", self.folder / "dump"))

    # A map

    MAP = {"manifest": {"engine": "ours"}, "phases": {"prompt": "prefill", "step0": "decode0"},
           "positions": {"prefill": [0, 16], "decode0": [17, 17]}, "rules": [
               {"match": r"(?P<phase>prompt|step0)\.layer(?P<layer>\d+)\.gate", "stage": "gate", "transpose": [1, 0]},
               {"match": r"(?P<phase>prompt|step0)\.layer(?P<layer>\d+)\.up", "stage": "up", "transpose": [1, 0]},
               {"match": r"(?P<phase>prompt|step0)\.layer(?P<layer>\d+)\.act_fn", "stage": "act", "transpose": [1, 0]},
               {"match": r"(?P<phase>prompt|step0)\.layer(?P<layer>\d+)\.down_proj", "stage": "down",
                "transpose": [1, 0]},
               {"match": r"step[1-9].*", "ignore": True}]}

    def test_a_tree_by_a_map(self):
        engine, watcher = self.engine()
        dumps.npy(self.folder / "tree", engine.serve(PROMPTS, STEPS), watcher, 0)
        chart = self.folder / "map.json"
        chart.write_text(json.dumps(self.MAP))
        bundle, _ = self.imported("npy", self.folder / "tree", "--map", chart, "-m", self.model)
        self.judged_clean(bundle, codes=(0, 4))
        down = np.load(self.folder / "tree/step0.layer1.down_proj.npy")
        np.save(self.folder / "tree/step0.layer1.down_proj.npy", np.roll(down, 1, 0))
        bundle, _ = self.imported("auto", self.folder / "tree", "--map", chart, "-m", self.model)
        code, found, _ = self.judged(bundle)
        self.assertEqual((code, found), (1, [(1, "down", "decode")]))
        self.assertIn("--map FILE is needed", self.refused("npy", self.folder / "tree"))

    def test_maps_that_are_wrong(self):
        (self.folder / "tree").mkdir()
        np.save(self.folder / "tree/a.npy", np.zeros((2, 3), np.float32))
        chart = self.folder / "map.json"

        def said_of(text):
            chart.write_text(text if isinstance(text, str) else json.dumps(text))
            return self.refused("npy", self.folder / "tree", "--map", chart)

        self.assertIn("map.json: ", said_of("{"))
        self.assertIn("has no rules", said_of({}))
        self.assertIn('"stages" is not known', said_of({"rules": [{"match": "a", "stages": "q"}]}))
        self.assertIn("no regular expression", said_of({"rules": [{"match": "(", "stage": "q"}]}))
        self.assertIn("no tensor there is one that the map knows; such as a", said_of(
            {"rules": [{"match": "b", "stage": "q"}]}))
        self.assertIn("2 rows, and positions 0 to 5", said_of(
            {"rules": [{"match": "a", "stage": "q", "positions": [0, 5]}]}))
        (self.folder / "tree/a.npy").write_bytes(b"\x93NUMPY")
        self.assertIn("no array of numpy", said_of({"rules": [{"match": "a", "stage": "q"}]}))

    def test_an_op_by_a_map(self):
        (self.folder / "tree").mkdir()
        x = np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32)
        w = np.random.default_rng(2).standard_normal((8, 32)).astype(np.float32)
        np.save(self.folder / "tree/x.npy", x), np.save(self.folder / "tree/w.npy", w.T)
        chart = self.folder / "map.json"
        chart.write_text(json.dumps({"rules": [
            {"match": "x", "name": "x"}, {"match": "w", "name": "weight", "transpose": [1, 0]},
            {"match": "y", "op": "mul_mat", "inputs": ["weight", "x"], "kernel": "mine"}]}))
        for code, y in ((0, x @ w.T), (1, (x @ w.T)[:, ::-1])):
            np.save(self.folder / "tree/y.npy", y)
            bundle, _ = self.imported("npy", self.folder / "tree", "--map", chart)
            self.assertEqual(self.judged(bundle, model=False)[0], code)

    def test_edge_llm(self):
        cache = torch.randn(1, 2, 2, 40, 16)
        after = cache.clone()
        after[:, :, :, 9] = 1
        save_file({"round_0.logits": torch.randn(1, 9, 96), "round_0.layer_0.kv": cache,
                   "round_1.logits": torch.randn(1, 1, 96), "round_1.layer_0.kv": after},
                  self.folder / "dump.safetensors")
        bundle, _ = self.imported("auto", self.folder / "dump.safetensors", "--prompt-length", 9)
        shapes = {(e["phase"], e["stage"]): (e["positions"], e["shape"]) for e in map(
            json.loads, (bundle / "events.jsonl").read_text().splitlines())}
        self.assertEqual(shapes["prefill", "kv_write"], ([0, 8], [9, 64]))
        self.assertEqual(shapes["decode0", "kv_write"], ([0, 9], [10, 64]))
        self.assertEqual(shapes["decode0", "logits"], ([9, 9], [1, 96]))
        self.assertIn("--prompt-length N is needed", self.refused("edge-llm", self.folder / "dump.safetensors"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    arguments, rest = parser.parse_known_args()
    Imported.greta = arguments.greta
    unittest.main(argv=[sys.argv[0], *rest])
