"""Clean captures of every type of tests/goldens/architectures, judged: capture_judged_test.py --greta PROGRAM

Each model is loaded from its GGUF, run in f32, bf16 and f16 with each attention, recorded, and judged by what the
recorder declares by itself: exit code 0, no finding, nothing left out. In f32 the recording is held against the golden
values, which transformers computed in f64 from a model of its own. Exit code 77 (skipped) without numpy, torch,
transformers, gguf and safetensors."""

import argparse
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

try:
    import gguf
    import numpy as np
    import safetensors.numpy
    import torch
    import transformers  # noqa: F401
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

REPOSITORY = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "python"))

from greta.capture import capture  # noqa: E402
from greta.gguf_model import load_gguf  # noqa: E402
from greta.recorder import FORMATS  # noqa: E402

ARCHITECTURES = REPOSITORY / "tests/goldens/architectures"
# Of the largest value of a stage, after up to 7 layers in f32: some 2^-24 per term of a sum of 96, and per layer.
TOLERANCE = 1e-5


def hold_in_bf16(path):
    """The few f16 weights of a GGUF that bf16 has not, rounded to it: then a model in either format has the file's."""
    for tensor in gguf.GGUFReader(path, "r+").tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F16:
            tensor.data[...] = torch.from_numpy(np.array(tensor.data)).bfloat16().to(torch.float16).numpy()


class Judged(unittest.TestCase):
    greta = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def unpack(self, name):
        """The path of the model, and the golden values by stage."""
        with tarfile.open(ARCHITECTURES / f"{name}.tgz") as archive:
            model = self.folder / f"{name}.gguf"
            model.write_bytes(archive.extractfile("model.gguf").read())
            return model, safetensors.numpy.load(archive.extractfile("golden.safetensors").read())

    def judge(self, bundle, model):
        run = subprocess.run([self.greta, "diagnose", bundle, "-m", model, "--json", "--threads", "1"],
                             capture_output=True, text=True)
        return run.returncode, json.loads(run.stdout) if run.stdout else run.stderr

    def judge_clean(self, bundle, model):
        code, verdict = self.judge(bundle, model)
        self.assertIsInstance(verdict, dict, verdict)
        found = [(f["layer"], f["stage"], f["phase"], f["noise_ratio"]) for f in verdict["findings"]]
        self.assertEqual((code, found, verdict["coverage"]["skipped"]), (0, [], []))

    def check_values(self, bundle, golden):
        events = [json.loads(line) for line in (bundle / "events.jsonl").read_text().splitlines()]
        where = {e["stage"] if e["layer"] < 0 else f"L{e['layer']}.{e['stage']}": e for e in events
                 if e["phase"] == "prefill"}
        for key, truth in golden.items():
            if key in ("tokens", "rows"):
                continue
            values = safetensors.numpy.load_file(bundle / where[key]["file"])[where[key]["tensor"]]
            values = values if key == "logits" else values[golden["rows"]]
            self.assertLess(np.abs(values - truth).max() / np.abs(truth).max(), TOLERANCE, key)

    def check_type(self, name):
        model, golden = self.unpack(name)
        capture(load_gguf(model), golden["tokens"], self.folder / name, gguf=model)
        self.check_values(self.folder / name, golden)
        hold_in_bf16(model)
        for dtype, format_name in FORMATS.items():
            for attention in ("eager",) if name == "gemma2" else ("eager", "sdpa"):  # transformers has no other
                if format_name == "f64":
                    continue
                with self.subTest(type=name, dtype=format_name, attention=attention):
                    bundle = self.folder / f"{name}-{format_name}-{attention}"
                    engine = load_gguf(model, attention)
                    for weight in engine.parameters():  # Module.to() would round RoPE's frequencies, too
                        weight.data = weight.data.to(dtype)
                    capture(engine, golden["tokens"], bundle, gguf=model)
                    self.judge_clean(bundle, model)

    def test_a_padded_batch(self):
        for name in ("llama", "gemma3"):
            model, golden = self.unpack(name)
            tokens = [int(t) for t in golden["tokens"]]
            bundle = self.folder / name
            capture(load_gguf(model), [tokens[:3], tokens, tokens[5:16]], bundle, gguf=model)
            self.judge_clean(bundle, model)

    def test_a_wrong_order_of_rows_is_a_fault(self):  # or else what is clean above would say nothing
        model, golden = self.unpack("granite")
        bundle = self.folder / "wrong"
        capture(load_gguf(model), golden["tokens"], bundle, gguf=model, rope_rows="halves")
        code, verdict = self.judge(bundle, model)
        self.assertEqual((code, verdict["findings"][0]["stage"]), (1, "q"))


# load_gguf() reads no experts, latent attention or scaled RoPE: capture() takes a model of one's own, as capture_test.py does.
NOT_LOADED = {"deepseek2", "deepseek2_lite", "gpt-oss", "linear", "longrope", "longrope_long", "mixtral", "qwen2moe", "qwen3moe",
              "yarn"}

for archive in sorted(ARCHITECTURES.glob("*.tgz")):
    type_name = archive.name.removesuffix(".tgz")
    if type_name in NOT_LOADED:
        continue
    setattr(Judged, f"test_{type_name}", lambda self, type_name=type_name: self.check_type(type_name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    arguments, rest = parser.parse_known_args()
    Judged.greta = arguments.greta
    unittest.main(argv=[sys.argv[0], *rest])
