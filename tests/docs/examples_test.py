"""Runs the examples of README.md and docs/*.md, block by block, on a tiny model (with --smollm2: those that show or
need SmolLM2's numbers, on that). Prints what was run and, with the reason, what was not. CTest runs it."""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import tiny_model
from markdown import blocks_of, dead_links, flaws_of

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parents[1]
NAMES_OF_THE_MODEL = ["MODEL", "MODEL.gguf", "SmolLM2", "SmolLM2-135M-Instruct.Q4_1.gguf"]
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")
ANY_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan|inf)"


def scratch_like_the_repository(folder, program, model):
    """What an example sees: greta on its PATH and in build/release, and the model under the names that documents use."""
    for name in NAMES_OF_THE_MODEL:
        (folder / name).symlink_to(model)
    for name in ["bench", "examples", "include", "prompts", "python", "src", "tests"]:
        (folder / name).symlink_to(REPOSITORY / name)
    for name in ["build/release/greta", "bin/greta"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(program)
    (folder / "scripts").mkdir()
    for name, does in [("scripts/get-model.sh", f"echo '{model}'"), ("bin/python3", f"exec '{sys.executable}' \"$@\"")]:
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)


def environment_of(folder):
    paths = [str(REPOSITORY / "python")]
    try:
        import safetensors  # noqa: F401
    except ImportError:
        paths.append(str(HERE / "stand_ins"))  # the two functions that the examples call
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRETA_")}
    return {**clean, "PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": ":".join(paths)}


def commands_of(text):
    """(command, exit code that the document promises) of each line; a line that ends with \\ goes on."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        promised = re.search(r"#.*\bexit code (\d+)", line)
        if line.strip() and not line.lstrip().startswith("#"):
            yield line, int(promised.group(1)) if promised else 0


def run_shell(block, folder, environment):
    """All commands in one shell; (what they printed, [what is wrong])."""
    commands = list(commands_of(block.text))
    script, results = "", folder / "results"
    for i, (command, _) in enumerate(commands):
        script += f"exec >>'{results}.out' 2>&1\n{command}\necho $? >'{results}.{i}'\n"
    subprocess.run(["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False)
    printed = pathlib.Path(f"{results}.out").read_text(errors="replace")
    pathlib.Path(f"{results}.out").unlink()
    wrong = []
    for i, (command, promised) in enumerate(commands):
        result = pathlib.Path(f"{results}.{i}")
        code = int(result.read_text()) if result.exists() else None  # the shell ended before
        result.unlink(missing_ok=True)
        if code != promised:
            wrong.append(f"exit code {code}, not {promised}: {command}")
    return printed, wrong


def run_python(block, folder, environment):
    done = subprocess.run([sys.executable, "-c", block.text], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, [f"exit code {done.returncode}"] if done.returncode else []


def run_c(block, folder, _environment):
    """A whole program is compiled as strictly as C99 can be, and run; a piece of one is only shown."""
    if "int main(" not in block.text:
        return "", []
    (folder / "example.c").write_text(block.text)
    command = "cc -std=c99 -Wall -Wextra -Werror -pedantic -I include example.c -o example -lm && ./example"
    done = subprocess.run(["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    return done.stdout + done.stderr, [f"exit code {done.returncode}"] if done.returncode else []


def read_json(block, _folder, _environment):
    json.loads(block.text)
    return "", []


RUN = {"sh": run_shell, "python": run_python, "c": run_c, "json": read_json}


def pattern_of(shown, exact):
    """Matches a line like `shown`, however its columns are spaced. Seconds may differ; numbers too, unless `exact`."""

    def escaped(part):
        return r"\s+".join(map(re.escape, re.split(r"\s+", part)))

    pattern, at = "", 0
    for number in NUMBER.finditer(shown):
        free = not exact or shown[number.end() :].startswith(" s")
        pattern += escaped(shown[at : number.start()]) + (ANY_NUMBER if free else re.escape(number.group()))
        at = number.end()
    return re.compile(pattern + escaped(shown[at:]))


def not_printed(shown, printed, exact):
    """The lines shown that the output lacks; the document may leave lines out, but not change their order."""
    lines = iter(printed.splitlines())
    for line in filter(str.strip, shown.splitlines()):
        pattern = pattern_of(line.strip(), exact)
        if not any(pattern.fullmatch(candidate.strip()) for candidate in lines):
            yield f"shown, but not printed (or not in this order): {line.strip()}"


def why_not(block, real_model):
    """Why a block is not run; None: it is."""
    if block.kind == "norun":
        return block.reason
    if real_model and block.kind != "SmolLM2" and (block.kind == "tiny" or not block.output):
        return "the test on the tiny model runs it"
    if not real_model and block.kind == "SmolLM2":
        return "shows SmolLM2's numbers: docs.SmolLM2 runs it"
    return None


def smollm2():
    """Where the C++ tests look for it too (tests/model/gguf_model_file.h)."""
    folder = os.environ.get("GRETA_TEST_MODELS_DIR") or pathlib.Path.home() / ".cache/greta/models"
    return pathlib.Path(folder) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def check(document, program, model, real_model):
    """Runs a document's examples in order, in one folder. Returns the number of wrong ones."""
    text, wrong_ones = (REPOSITORY / document).read_text(), 0
    for flaw in [*flaws_of(document, text), *dead_links(REPOSITORY / document)]:
        print(f"WRONG {flaw}")
        wrong_ones += 1
    with tempfile.TemporaryDirectory(prefix="greta-docs-") as scratch:
        folder = pathlib.Path(scratch)
        scratch_like_the_repository(folder, program, model)
        for block in blocks_of(document, text):
            if block.language not in RUN:
                continue
            if reason := why_not(block, real_model):
                print(f"  not run  {block.place}: {reason}")
                continue
            start = time.monotonic()
            printed, wrong = RUN[block.language](block, folder, environment_of(folder))
            if block.output:
                wrong += not_printed(block.output.text, printed, exact=real_model)
            print(f"{'WRONG' if wrong else '  ok':8} {block.place}, {time.monotonic() - start:.1f} s")
            if wrong:
                print("\n".join(wrong) + f"\nIt printed:\n{printed}")
                wrong_ones += 1
    return wrong_ones


def main():
    sys.stdout.reconfigure(line_buffering=True)  # what was run shows also if CTest ends it
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greta", required=True, type=pathlib.Path, help="the program")
    arguments.add_argument("--smollm2", action="store_true", help="instead of the tiny model")
    arguments.add_argument("documents", nargs="*", help="default: README.md and docs/*.md")
    options = arguments.parse_args()
    documents = options.documents or ["README.md", *sorted(f"docs/{p.name}" for p in (REPOSITORY / "docs").glob("*.md"))]
    if importlib.util.find_spec("numpy") is None:
        print("skipped: the documents' examples need numpy (Debian: python3-numpy)")
        return 77
    with tempfile.TemporaryDirectory(prefix="greta-docs-") as scratch:
        model = smollm2() if options.smollm2 else pathlib.Path(scratch) / "tiny.gguf"
        if not options.smollm2:
            tiny_model.write(model)
        elif not model.exists():
            print(f"skipped: {model} is not there; scripts/get-model.sh smollm2 fetches it")
            return 77
        wrong = sum(check(name, options.greta.absolute(), model.absolute(), options.smollm2) for name in documents)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
