"""What python/greta/llama_cpp.py says before llama.cpp is there, and of two runs. (With llama.cpp it is run by
tests/docs/capture_llama_test.py.) Standard library only. CTest runs it."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

REPOSITORY = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "python"))

from greta import llama_cpp  # noqa: E402


class LlamaCpp(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.library = self.folder / "libgreta_capture.so"
        self.library.touch()
        self.model = self.folder / "model.gguf"
        self.model.touch()

    def complaint(self, *arguments, found=True):
        """The one line that the program ends with; it left nothing behind."""
        line = ["llama_cpp", "--library", self.library, "--gguf", self.model, "--out", self.folder / "out", *arguments]
        spec = mock.patch.object(llama_cpp.importlib.util, "find_spec", return_value=object() if found else None)
        with mock.patch.object(sys, "argv", [str(word) for word in line]), spec, self.assertRaises(SystemExit) as end:
            llama_cpp.main()
        self.assertFalse((self.folder / "out").exists())
        return str(end.exception)

    def test_what_is_missing_is_said_in_one_line(self):
        self.assertEqual(self.complaint("--tokens", "1,2", found=False),
                         "greta.llama_cpp: llama-cpp-python is needed: pip install llama-cpp-python")
        self.assertIn("nowhere.so is not there", self.complaint("--tokens", "1", "--library", "nowhere.so"))
        self.assertIn("no.gguf is not there", self.complaint("--tokens", "1", "--gguf", "no.gguf"))
        self.assertIn("no.txt", self.complaint("--prompt-file", "no.txt"))

    def test_what_is_wrong_is_said_in_one_line(self):
        self.assertIn("invalid literal", self.complaint("--tokens", "1,x"))
        self.assertIn("--layers 0,1: use all", self.complaint("--tokens", "1", "--layers", "0,1"))
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.complaint("--tokens", "1", "--cache-type", "q9")
        self.assertIn("q9", said.getvalue())

    def test_two_runs_are_compared_bit_for_bit(self):
        self.assertEqual(llama_cpp.attested([b"ab", b"cd"], [b"ab", b"cd"])[0], "equal")
        result, sentence = llama_cpp.attested([b"ab", b"cx"], [b"ab", b"cd"])
        self.assertEqual(result, "different")
        self.assertIn("1 of 2 rows DIFFER", sentence)

    def test_notes_are_those_of_the_library(self):
        log = self.folder / "capture.jsonl"
        self.assertEqual(llama_cpp.notes_of(log), [])
        log.write_text("\n".join(map(json.dumps, [{"graph": 0}, {"note": "one"}])))
        self.assertEqual(llama_cpp.notes_of(log), ["one"])


if __name__ == "__main__":
    unittest.main()
