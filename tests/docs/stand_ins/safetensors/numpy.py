"""load_file and save_file of the package safetensors, of f32 tensors, for machines without it (Debian 12 has none)."""

import json
import pathlib
import struct

import numpy


def load_file(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8 : 8 + size])
    tensors.pop("__metadata__", None)
    values = data[8 + size :]
    return {key: numpy.frombuffer(values[slice(*tensor["data_offsets"])], "<f4").reshape(tensor["shape"])
            for key, tensor in tensors.items()}


def save_file(tensors, path):
    header, data = {}, b""
    for key, values in tensors.items():
        assert values.dtype == numpy.float32, f"{key}: this stand-in writes float32 only"
        header[key] = {"dtype": "F32", "shape": values.shape, "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
