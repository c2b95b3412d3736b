#!/usr/bin/env python3
"""Makes mma.safetensors and mma_hopper.safetensors: the first cases per instruction and distribution.

    make_mma.py CASES OUT FILE...

FILE has keys UNIT.INSTRUCTION/DISTRIBUTION/i/{A,Bt,C,D,D_h100}, of which i < CASES is kept, of 32x32 outputs
i < 1; or it is what tools/check_mma_cuda.cu writes, UNIT.INSTRUCTION/DISTRIBUTION/{A,Bt,C,D_gpu} with all cases
in one tensor, of which the first is kept."""
import json
import struct
import sys


def read(path):
    raw = open(path, "rb").read()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        if name.count("/") == 2:
            path_of_case, tensor = name.rsplit("/", 1)
            name = f"{path_of_case}/0/{tensor.replace('D_gpu', 'D')}"
            cases, *shape = entry["shape"]
            entry = dict(entry, shape=shape)
            end = begin + (end - begin) // cases
        yield name, entry, raw[begin:end]


def wanted(name, cases):
    index = int(name.split("/")[2])
    return index < (1 if "32x32" in name else cases)


def main():
    cases, out = int(sys.argv[1]), sys.argv[2]
    header, data = {}, b""
    for path in sys.argv[3:]:
        for name, entry, raw in read(path):
            if not wanted(name, cases):
                continue
            header[name] = dict(entry, data_offsets=[len(data), len(data) + len(raw)])
            data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(out, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
