"""Writes a trace bundle, schema greta.trace/1 (docs/trace-format.md). Needs numpy only."""

import hashlib
import json
import os
import pathlib
import struct

import numpy as np


def write_safetensors(path, tensors):
    """F32 tensors by key -> a safetensors file, which appears under its name when it is whole."""
    header, at = {}, 0
    for key, values in tensors.items():
        header[key] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.astype("<f4", copy=False).tobytes())
    os.replace(part, path)


class BundleWriter:
    """A bundle in a new directory. Events and values are kept in memory until flush(); the manifest says
    `"complete": false` until close(True). FileExistsError if the directory is there."""

    def __init__(self, directory, manifest):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.manifest = {"schema": "greta.trace/1", **manifest, "complete": False}
        self._write_manifest()
        self._events = open(self.directory / "events.jsonl", "w", encoding="utf-8")
        self._pending, self._tensors = [], {}
        self._recorded = set()
        self._stored = {}  # digest of shape and bytes -> (file, key): equal values are stored once
        self._files = 0

    def add(self, values, *, prompt_id, phase, layer, stage, positions, experiment="E0", **fields):
        """One stage: `values` in the shape of docs/trace-format.md, `positions` = (first, last). `fields` are
        further ones of the event: dtype, kernel, launches, ..."""
        cell = f"{experiment}/{prompt_id}"
        key = f"{cell}/{phase}/" + (f"L{layer}.{stage}" if layer >= 0 else stage)
        if key in self._recorded:
            raise ValueError(f"{key} is recorded twice: a phase is one forward pass")
        self._recorded.add(key)
        self._keep(key, values, {
            "cell": cell, "experiment": experiment, "prompt_id": prompt_id, "phase": phase, "layer": layer,
            "stage": stage, "positions": [int(p) for p in positions]}, fields)

    def add_tensor(self, values, *, name, prompt_id, phase, **fields):
        """A tensor that ops name as their input; with `op`, `inputs` and `attributes` also what made it."""
        key = f"{prompt_id}/{phase}/{name}"
        if key in self._recorded:
            raise ValueError(f"{key} is recorded twice")
        self._recorded.add(key)
        self._keep(key, values, {"prompt_id": prompt_id, "phase": phase, "name": name}, fields)

    def _keep(self, key, values, event, fields):
        values = np.ascontiguousarray(values, dtype=np.float32)
        digest = hashlib.blake2b(repr(values.shape).encode() + values.tobytes()).digest()
        if digest not in self._stored:
            self._stored[digest] = (f"tensors-{self._files:04}.safetensors", key)
            self._tensors[key] = values
        file, tensor = self._stored[digest]
        self._pending.append({**event, "shape": list(values.shape), **fields, "file": file, "tensor": tensor})

    def flush(self):
        """Writes what has come since the last flush: first the tensors, then the events that name them."""
        if self._tensors:
            write_safetensors(self.directory / f"tensors-{self._files:04}.safetensors", self._tensors)
            self._files += 1
        for event in self._pending:
            self._events.write(json.dumps(event) + "\n")
        self._events.flush()
        self._pending, self._tensors = [], {}

    def close(self, complete):
        self.flush()
        self._events.close()
        self.manifest["complete"] = complete
        self._write_manifest()

    def _write_manifest(self):
        part = self.directory / "manifest.json.part"
        part.write_text(json.dumps(self.manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.directory / "manifest.json")
