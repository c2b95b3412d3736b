#!/usr/bin/env python3
"""Writes checkpoints.json: what transformers' save_pretrained() makes of the models of architectures/*.tgz in f16.

    pip install torch transformers gguf safetensors numpy
    python3 tests/goldens/make_checkpoints.py

Of each model its config.json, the names of its tensors with those of the GGUF ("{}" is the layer), and the SHA-256 of
all tensors' bytes in the order of their names: a checkpoint that a test makes of the GGUF is the same if it has that.
A tensor that is two in the GGUF has two names; "[3]" is an expert.
"""

import hashlib
import json
import pathlib
import re
import tempfile

import gguf
import torch
from make_architectures import EXPERTS, GGUF_ARCHITECTURE, HERE, MODELS, Float64, make_model
from safetensors.torch import load_file


# What gguf's map has not, or in another form.
OSS_NAMES = {
    "mlp.experts.gate_up_proj": ["ffn_gate_exps.weight", "ffn_up_exps.weight"],
    "mlp.experts.gate_up_proj_bias": ["ffn_gate_exps.bias", "ffn_up_exps.bias"],
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "mlp.experts.down_proj_bias": "ffn_down_exps.bias",
    "self_attn.sinks": "attn_sinks.weight",
    "self_attn.kv_b_proj.weight": ["attn_k_b.weight", "attn_v_b.weight"],
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
}
WITH_EXPERTS = ("gpt-oss", "deepseek2", "deepseek2_lite")


def own_name(names, key):
    layer, _, rest = key.removeprefix("model.layers.").partition(".")
    expert = re.fullmatch(r"mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight", rest)
    if expert:
        return f"blk.{layer}.ffn_{expert[2]}_exps.weight[{expert[1]}]"
    found = OSS_NAMES.get(rest)
    if found is None:
        return names.get_name(key, try_suffixes=(".weight", ".bias"))
    return [f"blk.{layer}.{f}" for f in found] if isinstance(found, list) else f"blk.{layer}.{found}"


def without_layer(name):
    return [*map(without_layer, name)] if isinstance(name, list) else re.sub(r"\.\d+\.", ".{}.", name, count=1)


def checkpoint(name):
    with Float64():
        model = make_model(name)
    architecture = GGUF_ARCHITECTURE.get(name, name)
    kind = {text: kind for kind, text in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(kind, model.config.num_hidden_layers)
    with tempfile.TemporaryDirectory() as folder:
        model.to(torch.float16).save_pretrained(folder)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        tensors = load_file(pathlib.Path(folder) / "model.safetensors")
    digest, pairs = hashlib.sha256(), {}
    for key in sorted(tensors):
        digest.update(tensors[key].contiguous().numpy().tobytes())
        pairs[without_layer(key)] = without_layer(own_name(names, key))
    return {"config": config, "tensors": pairs, "sha256": digest.hexdigest()}


def main():
    torch.set_default_dtype(torch.float64)
    # Experts that are a tensor each: tests/python/checkpoint_formats_test.py
    made = {name: checkpoint(name) for name in MODELS if name not in EXPERTS or name in WITH_EXPERTS}
    (HERE / "checkpoints.json").write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


main()
