"""The parts of python/greta that need numpy only. CTest runs it; exit code 77 (skipped) without numpy."""

import json
import pathlib
import struct
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    print("skipped: needs numpy")
    sys.exit(77)

REPOSITORY = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "python"))

from greta.bundle import BundleWriter  # noqa: E402
from greta.layouts import CHOSEN, SHARED, STAGES, TYPES, layout_of  # noqa: E402
from greta.rope_rows import halves_to_pairs, pairs_to_halves  # noqa: E402
from greta.slots import Slots, nested, sequences_of, to_positions  # noqa: E402


def rotated(values, first, second, angles):
    """Value first[j] turns with second[j] by angles[j]."""
    out = np.empty_like(values)
    c, s = np.cos(angles), np.sin(angles)
    out[..., first] = values[..., first] * c - values[..., second] * s
    out[..., second] = values[..., first] * s + values[..., second] * c
    return out


class RopeRows(unittest.TestCase):
    def test_order(self):
        heads = np.arange(16).reshape(1, 16)  # two heads of 8
        self.assertEqual(halves_to_pairs(heads, 8).tolist(), [[0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]])
        self.assertTrue((pairs_to_halves(halves_to_pairs(heads, 8), 8) == heads).all())

    def test_turning_in_one_order_is_turning_in_the_other(self):
        j = np.arange(32)
        values, angles = np.random.default_rng(1).standard_normal((5, 64)), 10000.0 ** (-j / 32)
        in_halves = rotated(values, j, j + 32, angles)
        in_pairs = rotated(halves_to_pairs(values, 64), 2 * j, 2 * j + 1, angles)
        # The same operations on the same numbers: no tolerance.
        self.assertTrue((halves_to_pairs(in_halves, 64) == in_pairs).all())


class CacheSlots(unittest.TestCase):
    def test_one_sequence_that_is_cropped_and_slides(self):
        slots = Slots()
        slots.feed([[0, 1, 2, 3]], 0)
        self.assertEqual(slots.columns(0, 4), {0: 0, 1: 1, 2: 2, 3: 3})
        slots.feed([[3]], 3)  # cropped by one
        self.assertEqual(slots.columns(0, 4), {0: 0, 1: 1, 2: 2, 3: 3})
        slots.feed([[4]], 4)
        self.assertEqual(slots.columns(0, 3), {2: 0, 3: 1, 4: 2})  # a window's cache shows the last
        slots.feed([[7]], 7)  # two passes that nobody recorded: what they fed can only be 5 and 6
        self.assertEqual(slots.columns(0, 8), {p: p for p in range(8)})
        slots.feed([[0]], 0)  # a fresh cache
        self.assertEqual(slots.columns(0, 1), {0: 0})

    def test_padding_and_a_token_fed_again(self):
        left, right = Slots(), Slots()
        left.feed([[-1, -1, 0], [0, 1, 2]], 0)
        left.feed([[0], [2]], 2)
        self.assertEqual([left.columns(at, 3) for at in range(2)], [{0: 2}, {0: 0, 1: 1, 2: 2}])
        right.feed([[0, 1, -1, -1]], 0)
        right.feed([[1]], 3)  # its slot is still there: the later one counts
        self.assertEqual(right.columns(0, 4), {0: 0, 1: 3})
        values = to_positions(np.array([[1.0, 2.0, 3.0, 4.0]]), right.columns(0, 4), -np.inf)
        self.assertEqual(values.tolist(), [[1.0, 4.0]])
        self.assertEqual(to_positions(np.array([[5.0, 6.0]]), {2: 0, 3: 1}, 0).tolist(), [[0.0, 0.0, 5.0, 6.0]])

    def test_what_cannot_be(self):
        slots = Slots()
        with self.assertRaisesRegex(ValueError, "holds 2 tokens"):
            slots.feed([[5]], 2)
        slots.feed([[0]], 0)
        with self.assertRaisesRegex(ValueError, "32 slots for 1 tokens"):
            slots.columns(0, 32)
        for positions, said in [([0, 2], "follow"), ([[0], [0, 1]], "for every row"), ([-1], "one at least")]:
            with self.assertRaisesRegex(ValueError, said):
                sequences_of(positions)
        self.assertEqual(nested(np.array([[1, 2]])), ([[1, 2]], True))
        self.assertEqual(nested(range(2)), ([[0, 1]], False))


class Layouts(unittest.TestCase):
    def test_stages_of_the_families(self):
        no_experts = [s for s in STAGES[:-2] if s not in CHOSEN | SHARED]
        dense = [s for s in no_experts if not s.endswith(("post_norm", "q_norm", "k_norm"))]
        self.assertEqual(TYPES["llama"].stages(True, True), dense)
        self.assertEqual(TYPES["smollm3"].stages(False, False),
                         [s for s in dense if s not in ("q_rope", "k_rope", "qk", "softmax")])
        self.assertEqual(TYPES["gemma3_text"].stages(True, True), no_experts)
        self.assertEqual(TYPES["olmo2"].stages(True, True),
                         [s for s in no_experts if s not in ("attn_norm", "ffn_norm")])
        end = STAGES.index("ffn_norm") + 1
        self.assertEqual(TYPES["mixtral"].stages(True, True)[-5:],
                         ["router", "experts", "expert_weights", "experts_out", "x_out"])
        self.assertEqual(TYPES["qwen2_moe"].stages(True, True)[-11:],
                         [s for s in STAGES[end:-2] if s != "ffn_post_norm"])
        with self.assertRaisesRegex(ValueError, '"granitemoe" are built is not known; known are llama, '):
            layout_of("granitemoe")


class Bundle(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "b"

    def add(self, writer, values, phase="prefill", stage="q", layer=0):
        writer.add(values, prompt_id="p", phase=phase, layer=layer, stage=stage, positions=(0, len(values) - 1))

    def manifest(self):
        return json.loads((self.out / "manifest.json").read_text())

    def events(self):
        return [json.loads(line) for line in (self.out / "events.jsonl").read_text().splitlines()]

    def values(self, event):
        """As the format's specification says, not as the writer does."""
        data = (self.out / event["file"]).read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        entry = json.loads(data[8 : 8 + size])[event["tensor"]]
        begin, end = entry["data_offsets"]
        self.assertEqual(entry["dtype"], "F32")
        return np.frombuffer(data[8 + size + begin : 8 + size + end], "<f4").reshape(entry["shape"])

    def test_values_come_back(self):
        writer = BundleWriter(self.out, {"engine": "test"})
        q, k = np.array([[1, -np.inf, 2.5]]), np.arange(6).reshape(2, 3)
        self.add(writer, q)
        self.add(writer, k, stage="k")
        writer.flush()
        self.add(writer, q, phase="decode0")  # equal values: stored once
        self.add(writer, -q, phase="decode0", layer=-1, stage="logits")
        writer.close(True)
        stored = self.events()
        self.assertEqual([e["tensor"] for e in stored],
                         ["E0/p/prefill/L0.q", "E0/p/prefill/L0.k", "E0/p/prefill/L0.q", "E0/p/decode0/logits"])
        for event, expected in zip(stored, (q, k, q, -q)):
            self.assertEqual(event["shape"], list(expected.shape))
            self.assertTrue((self.values(event) == expected).all())
        self.assertTrue(self.manifest()["complete"])

    def test_what_was_not_finished_says_so(self):
        writer = BundleWriter(self.out, {"engine": "test"})
        self.add(writer, np.ones((1, 2)))
        writer.flush()
        self.add(writer, np.zeros((1, 2)), phase="decode0")
        self.addCleanup(writer.close, False)
        self.assertFalse(self.manifest()["complete"])
        self.assertEqual([e["phase"] for e in self.events()], ["prefill"])

    def test_refuses_a_directory_and_a_stage_twice(self):
        writer = BundleWriter(self.out, {"engine": "test"})
        self.addCleanup(writer.close, False)
        with self.assertRaises(FileExistsError):
            BundleWriter(self.out, {"engine": "test"})
        self.add(writer, np.ones((1, 2)))
        for again in (np.zeros((1, 2)), np.ones((1, 2))):
            with self.assertRaisesRegex(ValueError, "prefill/L0.q is recorded twice"):
                self.add(writer, again)

    def test_keeps_the_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("needs jsonschema")
        writer = BundleWriter(self.out, {"engine": "test"})
        self.add(writer, np.ones((1, 2)))
        writer.close(True)
        definitions = json.loads((REPOSITORY / "docs/trace.schema.json").read_text())["$defs"]
        for name, value in [("manifest", self.manifest()), ("event", self.events()[0])]:
            jsonschema.validate(value, {"$defs": definitions, "$ref": f"#/$defs/{name}"},
                                cls=jsonschema.Draft202012Validator)


if __name__ == "__main__":
    unittest.main()
