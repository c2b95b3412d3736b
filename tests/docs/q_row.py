"""The opening example of docs/numerics.md: one output of SmolLM2's first q projection, and the rounding that it may have.
Written from the document, not from the program: numpy, the model's bytes, and the recorded rows.

    q_row.py MODEL BUNDLE OUTPUT    # of `greta trace --route all=vector`: f32 activations, f32 sums in ascending order
"""

import json
import math
import pathlib
import struct
import sys

import numpy

U, LAMBDA, TINY = 2.0**-24, 9.2, 2.0**-126
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
Q4_1 = 3


class Gguf:
    """Tensors of a GGUF file: name -> (dims, type, where its bytes begin)."""

    def __init__(self, path):
        self.data, self.at = memoryview(path.read_bytes()), 4  # after "GGUF"
        _, n_tensors, n_keys = self.take("IQQ")
        for _ in range(n_keys):
            self.string()
            self.value(*self.take("I"))
        found = []
        for _ in range(n_tensors):
            name, (n_dims,) = self.string(), self.take("I")
            found.append((name, self.take(f"{n_dims}Q"), *self.take("IQ")))
        begin = -(-self.at // 32) * 32
        self.tensors = {name: (dims, kind, begin + offset) for name, dims, kind, offset in found}

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def string(self):
        (size,) = self.take("Q")
        self.at += size
        return bytes(self.data[self.at - size : self.at]).decode()

    def value(self, kind):
        if kind == 8:
            self.string()
        elif kind == 9:
            of, count = self.take("IQ")
            for _ in range(count):
                self.value(of)
        else:
            self.take(SCALARS[kind])

    def row_q4_1(self, name, row):
        """(d q + m, exactly; d of each): per block of 32 two f16 numbers d and m, then 16 bytes with value i low, i + 16 high."""
        (k, _), kind, begin = self.tensors[name]
        assert kind == Q4_1
        blocks = numpy.frombuffer(self.data, [("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)], k // 32, begin + row * k // 32 * 20)
        q = numpy.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1)
        d, m = (blocks[part].astype(float).repeat(32) for part in "dm")
        return q.ravel() * d + m, d


def recorded(bundle, stage):
    """The row of decode0 in layer 0."""
    events = map(json.loads, (bundle / "events.jsonl").read_text().splitlines())
    event = next(e for e in events if (e["phase"], e["layer"], e["stage"]) == ("decode0", 0, stage))
    from safetensors.numpy import load_file

    return load_file(bundle / event["file"])[event["tensor"]].ravel().astype(float)


def expected(w, x):
    """(value, bound, the partial sums, E): docs/numerics.md, "The probabilistic bound" and "Matrix products"."""
    terms, n = w * x, len(x)
    sums = numpy.cumsum(terms)
    value, q = sums[-1], (terms**2).sum()
    energy = max((sums**2).sum(), n * (value**2 / 3 + q / 6)) + 2 * q  # q4_1: d q + m, and its product, are rounded
    roundings = 3 * n
    c = min(LAMBDA, math.sqrt(roundings)) * U
    return value, c * math.sqrt(energy) / (1 - c * math.sqrt(roundings)) + n * TINY, sums, energy


def main():
    model, bundle, j = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    gguf, x, q = Gguf(model), recorded(bundle, "attn_norm"), recorded(bundle, "q")
    rows, steps = zip(*(gguf.row_q4_1("blk.0.attn_q.weight", row) for row in range(len(q))))
    value, bound, sums, energy = expected(rows[j], x)

    def some(values):
        return ", ".join(f"{v:.6g}" for v in values[:3]) + f", ..., {values[-1]:.6g}"

    print(f"x, {len(x)} numbers: {some(x)}")
    print(f"w, row {j} of Wq: {some(rows[j])}")
    print(f"partial sums: {some(sums)}")
    print(f"oracle {value:.9f}, bound {bound:.3e} (E = {energy:.1f})")
    print(f"observed {q[j]:.9f}, off by {abs(q[j] - value):.2e}, r = {abs(q[j] - value) / bound:.4f}")
    print(f"a code of w that is one too large would move it by {numpy.median(steps[j] * abs(x)):.1e} (median)")
    ratios = [abs(seen - right) / allowed for seen, (right, allowed, *_) in zip(q, (expected(row, x) for row in rows))]
    print(f"largest r of the {len(q)} outputs: {max(ratios):.4f}")


if __name__ == "__main__":
    main()
