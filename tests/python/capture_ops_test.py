"""Models of types that nobody described, recorded as ops and judged: capture_ops_test.py --greta PROGRAM

Tiny random models of seven such types of transformers, in f32 and bf16: every op that was recorded is right. A bug is
found at its own op. Exit code 77 (skipped) without numpy, torch, transformers."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import torch
    import transformers
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))

from greta.op_recorder import capture_ops  # noqa: E402

SIZES = {"vocab_size": 48, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": 1,
         "eos_token_id": 2}
TYPES = {"gemma": {"head_dim": 16}, "cohere": {}, "stablelm": {}, "starcoder2": {}, "gpt_neox": {},
         "glm": {"head_dim": 16}, "helium": {"head_dim": 16}}


def tiny(model_type, attention="sdpa"):
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(model_type, **SIZES, **TYPES[model_type])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    for name, weight in sorted(model.named_parameters()):
        if weight.dim() > 1:
            weight.data.normal_(0, 1 / np.sqrt(weight.shape[-1]))
        else:
            weight.data.uniform_(0.5, 1.5) if "norm" in name and "weight" in name else weight.data.normal_(0, 0.3)
    return model.eval()


class Ops(unittest.TestCase):
    greta = None

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def judge(self, bundle):
        run = subprocess.run([self.greta, "diagnose", bundle, "--json", "--threads", "1"], capture_output=True,
                             text=True)
        self.assertTrue(run.stdout, run.stderr)
        return run.returncode, json.loads(run.stdout)

    def test_clean(self):
        for model_type in TYPES:
            for dtype in (torch.float32, torch.bfloat16):
                with self.subTest(type=model_type, dtype=dtype):
                    bundle = self.folder / f"{model_type}-{dtype}"
                    model = tiny(model_type)
                    for weight in model.parameters():
                        weight.data = weight.data.to(dtype)
                    capture_ops(model, range(3, 20), bundle)
                    code, verdict = self.judge(bundle)
                    wrong = [op["name"] for op in verdict["ops"] if op["status"] != "WITHIN"]
                    self.assertEqual((code, wrong), (0, []))
                    events = [json.loads(line) for line in (bundle / "events.jsonl").read_text().splitlines()]
                    ops = {(e["phase"], e["op"]) for e in events if "op" in e}
                    for phase in ("prefill", "decode0"):
                        for op in ("mul_mat", "flash_attention"):
                            self.assertIn((phase, op), ops)

    def test_a_bug(self):
        model = tiny("gemma")
        product = model.model.layers[1].mlp.down_proj

        def wrong(module, args, out):
            return out.roll(1, -1) if args[0].shape[1] == 1 else None

        product.register_forward_hook(wrong)
        capture_ops(model, range(3, 20), self.folder / "bundle")
        code, verdict = self.judge(self.folder / "bundle")
        self.assertEqual(code, 1)
        wrong = [(op["name"], op["phase"]) for op in verdict["ops"] if op["status"] == "FAULT"]
        self.assertEqual(wrong, [("model.layers.1.mlp.down_proj", "decode0")])

    def test_the_command_takes_a_directory(self):
        """Of a type that is known stages are recorded, of another ops."""
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        from tiny_types import tiny as known

        for model_type, model in (("qwen3", known("qwen3")), ("gemma", tiny("gemma"))):
            model.save_pretrained(self.folder / model_type)
            out = self.folder / f"bundle-{model_type}"
            run = subprocess.run(
                [sys.executable, "-m", "greta.capture", "-m", self.folder / model_type, "--tokens", "3,5,7,9,4",
                 "--decode", "--out", out, "--attention", "sdpa"], capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2] / "python")})
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertEqual("ops of a gemma model are recorded" in run.stderr, model_type == "gemma")
            of = ["-m", self.folder / model_type] if model_type == "qwen3" else []
            run = subprocess.run([self.greta, "diagnose", out, *of], capture_output=True, text=True)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    arguments, rest = parser.parse_known_args()
    Ops.greta = arguments.greta
    unittest.main(argv=[sys.argv[0], *rest])
