"""What the tests of `greta launch` share: a folder of their own, a tiny model, a stand-in for the far program."""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "docs"))
import tiny_model  # noqa: E402

# A program that is started as greta and does what the test says: $DOES, after its arguments and $out are known.
STAND_IN = """#!/bin/sh
[ "$1" != --version ] || { echo "VERSION"; exit 0; }
out=; part=; previous=
for word; do
  case $previous in --out) out=$word;; --part) part=$word;; esac
  previous=$word
done
mkdir -p "$out"
DOES
"""

MATRIX = ["--experiments", "E0,E4", "--prompts", "p0_short,p5_ba", "--quick", "--seed", "7"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--greta", required=True)
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("only", nargs="*")
    return parser.parse_args()


def skip_if(lacking):
    if lacking:
        print(f"skipped: not installed: {', '.join(lacking)}")
        sys.exit(77)


class LaunchTest(unittest.TestCase):
    greta = None  # the program under test
    model_folder = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greta-launch-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.far = self.folder / "far"  # where the far side makes its directories
        self.far.mkdir()
        self.here = self.folder / "here"
        self.here.mkdir()
        self.model = self.tiny_model()
        self.environment = {**os.environ}

    @classmethod
    def tiny_model(cls):
        """Made once."""
        if cls.model_folder is None:
            cls.model_folder = tempfile.TemporaryDirectory(prefix="greta-launch-model-")
            tiny_model.write(pathlib.Path(cls.model_folder.name) / "tiny.gguf")
        return pathlib.Path(cls.model_folder.name) / "tiny.gguf"

    def run_greta(self, *words, **more):
        return subprocess.run([self.greta, *map(str, words)], cwd=more.pop("cwd", self.here), capture_output=True,
                              text=True, env={**self.environment, **more.pop("env", {})}, stdin=subprocess.DEVNULL,
                              check=False, timeout=300, **more)

    def start_greta(self, *words):
        return subprocess.Popen([self.greta, *map(str, words)], cwd=self.here, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment, stdin=subprocess.DEVNULL)

    def version(self):
        return subprocess.run([self.greta, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def stand_in(self, does, version=None):
        path = self.folder / "stand-in"
        path.write_text(STAND_IN.replace("VERSION", version or self.version()).replace("DOES", does))
        path.chmod(0o755)
        return path

    def results(self, name="isolate"):
        return self.here / "artifacts_remote" / "day" / name

    def assert_nothing_left(self):
        self.assertEqual([path.name for path in self.far.iterdir()], [])

    def assert_one_line(self, done, code, *says):
        lines = done.stderr.splitlines()
        self.assertEqual(done.returncode, code, done.stderr)
        complaints = [line for line in lines if line.startswith("greta: ") and "note:" not in line
                      and "copying" not in line]
        self.assertEqual(len(complaints), 1, done.stderr)
        for words in says:
            self.assertIn(words, complaints[0])


def without_time_and_paths(directory):
    """verdict.json and the English report, but for when, how long and where."""
    verdict = json.loads((directory / "verdict.json").read_text())
    for key in ["command_line", "date", "seconds", "directory", "bundle"]:
        verdict.pop(key, None)
    report = (directory / "report.en.md").read_text()
    report = re.sub(r"\d{4}-\d\d-\d\dT[\d:]*Z; [\d.]+ s", "TIME", report)
    return verdict, re.sub(r"^.*(greta isolate|greta diagnose|artifacts_remote|Command).*$", "", report, flags=re.M)


def main(*tests):
    given = arguments()
    LaunchTest.greta = given.greta
    LaunchTest.smollm2 = given.smollm2
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(
        loader.loadTestsFromTestCase(test) if not given.only else unittest.TestSuite(map(test, given.only))
        for test in tests)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for _, why in result.skipped:
        print(f"skipped: {why}")
    sys.exit(not result.wasSuccessful())
