"""The plugin for vLLM on a small engine with vLLM's modules, and a stand-in of the runner that it wraps (vLLM itself is
too large for CI): what it writes is imported and judged clean. vllm_plugin_test.py --greta PROGRAM. Exit code 77
(skipped) without torch, transformers, safetensors."""

import argparse
import contextlib
import io
import os
import sys
import types
import unittest
from unittest import mock

import import_test as importing  # skips, too
import torch
from serving_model import ServingModel

sys.path.insert(0, str(importing.pathlib.Path(__file__).parents[2] / "python"))

from greta import vllm_plugin  # noqa: E402


class Runner:
    """Of vllm.v1.worker.gpu_model_runner what the plugin uses."""

    def __init__(self, model, eager=True):
        self.model = model
        self.model_config = types.SimpleNamespace(enforce_eager=eager)
        self.input_batch = types.SimpleNamespace(req_ids=[])

    def get_model(self):
        return self.model

    def execute_model(self, scheduled):
        ids, positions, batch = scheduled.inputs
        self.input_batch.req_ids = [f"request-{request}" for request, _, _ in batch.rows]
        return self.model(ids, positions, batch)


class Plugin(importing.Imported):
    def setUp(self):
        super().setUp()
        modules = {"vllm": types.ModuleType("vllm"), "vllm.distributed": types.ModuleType("vllm.distributed")}
        modules["vllm.distributed"].get_pp_group = lambda: types.SimpleNamespace(rank_in_group=0)
        modules["vllm.distributed"].get_tensor_model_parallel_rank = lambda: 0
        sys.modules.update(modules)
        self.enterContext(mock.patch.dict(os.environ, {"GRETA_VLLM_OUT": str(self.folder / "dump")}))

    def served(self, eager=True):
        """What the plugin says while two prompts are served."""
        engine, _ = self.engine("qwen3", torch.bfloat16)

        class Watched(Runner):
            pass

        vllm_plugin.watch(Watched)
        runner = Watched(engine, eager)

        def forward(ids, positions, batch):
            counts = {f"request-{request}": end - begin for request, begin, end in batch.rows}
            return runner.execute_model(types.SimpleNamespace(
                inputs=(ids, positions, batch), num_scheduled_tokens=counts, total_num_scheduled_tokens=len(ids)))

        with contextlib.redirect_stderr(io.StringIO()) as said:
            for _ in ServingModel.serve(forward, importing.PROMPTS, importing.STEPS):
                pass
        return said.getvalue()

    def test_what_it_writes_is_judged_clean(self):
        self.assertIn("records", self.served())
        bundle, _ = self.imported("auto", self.folder / "dump", "-m", self.model)
        verdict = self.judged_clean(bundle)
        self.assertEqual(verdict["coverage"]["percent"], 100.0)
        stages = self.judged_stages(bundle)
        for stage in ("x_in", "q_norm", "k_rope", "kv_write", "pv", "x_attn", "gate", "x_out"):
            self.assertIn(("r1", "decode2", 1, stage), stages)
        self.assertIn("nothing is recorded", self.served())  # the directory is there

    def test_compiled_graphs_are_refused(self):
        self.assertIn("nothing is recorded: compiled graphs", self.served(eager=False))
        self.assertFalse((self.folder / "dump").exists())

    def test_layers_and_passes(self):
        with mock.patch.dict(os.environ, {"GRETA_VLLM_LAYERS": "1", "GRETA_VLLM_PASSES": "2"}):
            self.assertIn("2 passes are recorded", self.served())
        bundle, _ = self.imported("vllm", self.folder / "dump", "-m", self.model)
        self.judged_clean(bundle)
        layers = {layer for _, _, layer, _ in self.judged_stages(bundle)}
        self.assertEqual(layers - {-1}, {0, 1})  # 0: its end, seen from 1


for inherited in [name for name in dir(importing.Imported) if name.startswith("test_")]:
    setattr(Plugin, inherited, None)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    arguments, rest = parser.parse_known_args()
    importing.Imported.greta = arguments.greta
    unittest.main(argv=[sys.argv[0], *rest], defaultTest="Plugin")
