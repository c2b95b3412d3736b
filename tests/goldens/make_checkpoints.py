#!/usr/bin/env python3
"""Writes checkpoints.json: what transformers' save_pretrained() makes of the models of architectures/*.tgz in f16.

    pip install torch transformers gguf safetensors numpy
    python3 tests/goldens/make_checkpoints.py

Of each model its config.json, the names of its tensors with those of the GGUF ("{}" is the layer), and the SHA-256 of
all tensors' bytes in the order of their names: a checkpoint that a test makes of the GGUF is the same if it has that.
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
        own = names.get_name(key, try_suffixes=(".weight", ".bias"))
        pairs[re.sub(r"\.\d+\.", ".{}.", key)] = re.sub(r"\.\d+\.", ".{}.", own)
    return {"config": config, "tensors": pairs, "sha256": digest.hexdigest()}


def main():
    torch.set_default_dtype(torch.float64)
    made = {name: checkpoint(name) for name in MODELS if name not in EXPERTS}  # which no checkpoint is read with
    (HERE / "checkpoints.json").write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


main()
