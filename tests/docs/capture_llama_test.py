"""Runs what docs/capture.md shows of llama.cpp, on SmolLM2. Needs llama-simple on the PATH, or built by
scripts/get-llama-cpp.sh, and the model; llama-cpp-python's block runs where it can be imported. Then captures a tiny
model of each architecture. CTest runs it."""

import argparse
import glob
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from examples_test import environment_of, run_shell, scratch_like_the_repository
from markdown import blocks_of

REPOSITORY = pathlib.Path(__file__).parents[2]
CACHE = pathlib.Path(os.environ.get("GRETA_CACHE") or pathlib.Path.home() / ".cache/greta")
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def folders_of_llama():
    """Where a llama-simple is: the one on the path, else the newest that was built."""
    on_path = shutil.which("llama-simple")
    built = glob.glob(str(CACHE / "llama.cpp/*/build/bin/llama-simple"))
    by_version = sorted(built, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])
    return [pathlib.Path(program).parent for program in ([on_path] if on_path else by_version[-1:])]


def run(greta, llama, blocks):
    """What is wrong, a line each."""
    with tempfile.TemporaryDirectory(prefix="greta-llama-") as name:
        folder = pathlib.Path(name)
        scratch_like_the_repository(folder, greta, MODEL)
        environment = environment_of(folder)
        environment["PATH"] = f"{environment['PATH']}:{llama}"
        for block in blocks:
            if "llama-cpp-python" in block.reason and importlib.util.find_spec("llama_cpp") is None:
                print(f"not run: {block.place}: {block.reason}")
                continue
            printed, wrong = run_shell(block, folder, environment)
            yield from (f"{block.place} with {llama}: {flaw}\n{printed}" for flaw in wrong)
            print(f"run: {block.place} with {llama}")


# Rows of the embedding without a token: llama.cpp refuses such a file. Latent attention: capture does not follow it.
REFUSED = {"tuned": "llama.cpp does not load it", "deepseek2": "capture does not follow latent attention",
           "deepseek2_lite": "capture does not follow latent attention"}
# What a file leaves open and llama.cpp reads otherwise than the model's authors: the report says so (docs/capture.md).
OPEN = {"gpt-oss": "YaRN's borders rounded to whole pairs, which the file leaves open"}


def run_architectures(greta, llama):
    """Of each architecture that GRETA knows a tiny model: judged whole, with nothing declared, nothing is found."""
    with tempfile.TemporaryDirectory(prefix="greta-llama-") as name:
        for archive in sorted((REPOSITORY / "tests/goldens/architectures").glob("*.tgz")):
            if archive.stem in REFUSED:
                print(f"not run: {archive.stem}: {REFUSED[archive.stem]}")
                continue
            folder = pathlib.Path(name) / archive.stem
            folder.mkdir()
            with tarfile.open(archive) as files:
                files.extractall(folder)
            model, bundle = next(folder.rglob("*.gguf")), folder / "trace"
            recorded = subprocess.run([greta, "capture", "--out", bundle, "--", llama / "llama-simple", "-m", model, "-n", "3",
                                       "Hello there"], capture_output=True, check=False)
            judged = subprocess.run([greta, "diagnose", bundle, "-m", model, "--json"], capture_output=True, check=False)
            equal = b"equal bit for bit" in recorded.stderr
            verdict = json.loads(judged.stdout)
            whole = judged.returncode == 0 and verdict["coverage"]["percent"] == 100
            said = any(OPEN[archive.stem] in kernels["what"] for kernels in verdict["arithmetic"]) if archive.stem in OPEN else True
            if not equal or not whole or not said:
                yield f"{archive.stem} with {llama}: {(recorded.stderr + judged.stderr).decode()[-300:]}"
            print(f"run: {archive.stem} with {llama}")


def run_example(greta, llama):
    """examples/llama_h.cpp with the headers and libraries of that build: SmolLM2 is judged whole, and right."""
    source = next(llama.parents[1].glob("*/vendor/llama.cpp"), None)
    if source is None:
        return print(f"not run: examples/llama_h.cpp with {llama}: its headers are not there")
    with tempfile.TemporaryDirectory(prefix="greta-llama-") as name:
        program, bundle = pathlib.Path(name) / "llama_h", pathlib.Path(name) / "bundle"
        subprocess.run(["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", REPOSITORY / "include",
                        "-isystem", source / "include", "-isystem", source / "ggml/include",
                        REPOSITORY / "examples/llama_h.cpp", "-o", program, "-L", llama, f"-Wl,-rpath,{llama}",
                        "-lllama", "-lggml", "-lggml-base"], check=True)
        subprocess.run([program, MODEL, "The capital of France is", bundle], check=True)
        judged = subprocess.run([greta, "diagnose", bundle, "-m", MODEL, "--json"], capture_output=True, check=False)
        print(f"run: examples/llama_h.cpp with {llama}")
        if judged.returncode != 0 or json.loads(judged.stdout)["coverage"]["percent"] != 100:
            yield f"examples/llama_h.cpp with {llama}: exit code {judged.returncode}: {judged.stderr.decode()[-300:]}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greta", required=True, help="the program")
    greta = pathlib.Path(arguments.parse_args().greta).resolve()
    page = REPOSITORY / "docs/capture.md"
    blocks = [block for block in blocks_of("capture.md", page.read_text()) if "llama" in (block.reason or "")]
    if len(blocks) != 2:
        sys.exit(f"docs/capture.md shows {len(blocks)} examples with llama.cpp, not 2")
    if not MODEL.exists() or not folders_of_llama():
        print("skipped: needs SmolLM2 (scripts/get-model.sh) and a llama-simple (scripts/get-llama-cpp.sh)")
        sys.exit(77)
    wrong = [flaw for llama in folders_of_llama() for flaw in [*run(greta, llama, blocks), *run_architectures(greta, llama),
                                                              *run_example(greta, llama)]]
    print("\n".join([*wrong, f"{len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
