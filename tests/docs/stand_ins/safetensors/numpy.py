"""load_file and save_file of the package safetensors, of f32 and i32 tensors, for machines without it (Debian 12 has none)."""

import json
import pathlib
import struct

import numpy

TYPES = {"F32": numpy.dtype("<f4"), "I32": numpy.dtype("<i4")}


def load_file(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8 : 8 + size])
    tensors.pop("__metadata__", None)
    values = data[8 + size :]
    return {key: numpy.frombuffer(values[slice(*tensor["data_offsets"])], TYPES[tensor["dtype"]]).reshape(tensor["shape"])
            for key, tensor in tensors.items()}


def save_file(tensors, path):
    header, data = {}, b""
    for key, values in tensors.items():
        dtype = next((name for name, known in TYPES.items() if known == values.dtype), None)
        assert dtype, f"{key}: this stand-in writes float32 and int32 only"
        header[key] = {"dtype": dtype, "shape": values.shape, "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
