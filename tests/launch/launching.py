"""What the tests of `greta launch` share: a folder of their own, a tiny model, a stand-in for the far program."""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
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
    parser.add_argument("--model", type=pathlib.Path, help="a tiny one that was made before")
    parser.add_argument("only", nargs="*")
    return parser.parse_args()


def skip_if(lacking):
    if lacking:
        print(f"skipped: not installed: {', '.join(lacking)}")
        sys.exit(77)


class LaunchTest(unittest.TestCase):
    given = None  # the arguments

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greta-launch-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.far = self.folder / "far"  # where the far side makes its directories
        self.far.mkdir()
        self.here = self.folder / "here"
        self.here.mkdir()
        self.model = self.given.model
        self.environment = {**os.environ}
        self.greta = self.given.greta

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

    def processes_in(self, folder):
        """Those whose directory is there, or was."""
        found = []
        for link in pathlib.Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(str(folder)):
                    found.append((link.parent / "cmdline").read_bytes())
        return found

    def assert_nothing_left(self):
        self.assertEqual([path.name for path in self.far.iterdir()], [])
        end = time.monotonic() + 10  # what followed the run on a connection that was cut sees that it is over
        while self.processes_in(self.far) and time.monotonic() < end:
            time.sleep(0.2)
        self.assertEqual(self.processes_in(self.far), [])

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


def run_here(test, given):
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(map(test, given.only)) if given.only else loader.loadTestsFromTestCase(test)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for _, why in result.skipped:
        print(f"skipped: {why}")
    return result.wasSuccessful()


def run_apart(test, given, at_once):
    """Each in a process of its own: they mostly wait."""
    def run(name):
        again = [sys.executable, sys.argv[0], "--greta", given.greta, "--model", given.model, name]
        done = subprocess.run(again, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr, flush=True)
        return done.returncode == 0

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return all(list(pool.map(run, unittest.TestLoader().getTestCaseNames(test))))


def main(test, at_once=1):
    given = LaunchTest.given = arguments()
    with tempfile.TemporaryDirectory(prefix="greta-launch-model-") as folder:
        if given.model is None:
            given.model = pathlib.Path(folder) / "tiny.gguf"
            tiny_model.write(given.model)
        apart = at_once > 1 and not given.only
        sys.exit(not (run_apart(test, given, at_once) if apart else run_here(test, given)))
