#!/usr/bin/env python3
"""Mutants of the engine's own sources: what `greta isolate` says of bugs that somebody wrote into them.

  scripts/mutants.py check                 every row of tests/mutants still applies to today's sources
  scripts/mutants.py build DIR             one program with all of them, chosen by GRETA_MUTANT_NUMBER
  scripts/mutants.py run DIR OUT [ID ...]  `greta isolate` on each (or on some); OUT/<id>.json
  scripts/mutants.py score OUT             what was found, placed, and named; the tables of the docs

A row of tests/mutants/*.toml: `was` (unique in `context`, which is unique in `file`) becomes `becomes`.
Mutants are compiled into a copy of the sources as alternatives, so that one build serves all:
expressions as (chosen ? (becomes) : (was)), statements as if (chosen) { becomes } else { was }.
Only the kernels of the widest ISA are mutated: isolate runs no others.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = pathlib.Path(os.environ.get("GRETA_TEST_MODELS_DIR", pathlib.Path.home() / ".cache/greta/models"))
# A mutant of all layers alike is run on a model's first layers (scripts/cut_layers.py): a tenth of the time.
FILES = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-4.gguf"),
    "gemma": ("gemma-3-270m-q4_k_m.gguf", "gemma-6.gguf"),
    "qwen": ("qwen.gguf", "qwen-2.gguf"),
}


STAGES = {
    "projections": "q k v attn_out gate up down logits".split(),
    "norms": "attn_norm q_norm k_norm attn_post_norm ffn_norm ffn_post_norm final_norm".split(),
}
# Made in every layer, the first one included.
LAYERED = {s for names in STAGES.values() for s in names} | set(
    "q_rope k_rope kv_write qk softmax pv x_attn act x_out".split()
)


def rows():
    """All mutants, in the order of the files; each knows its number from 1."""
    found = []
    for path in sorted((ROOT / "tests/mutants").glob("*.toml")):
        table = tomllib.loads(path.read_text())
        for row in table["mutant"]:
            found.append({"file": table["file"], "model": "smollm2", "phases": "both"} | row)
    for number, row in enumerate(found, 1):
        row["number"] = number
    ids = [row["id"] for row in found]
    twice = {i for i in ids if ids.count(i) > 1}
    if twice:
        sys.exit(f"two mutants of one id: {', '.join(sorted(twice))}")
    return found


def place(row, edit, text):
    """Where an edit's text lies in the source."""

    def only(part, whole, what):
        if whole.count(part) != 1:
            sys.exit(f"{row['id']}: {what} occurs {whole.count(part)} times, not once: {part!r}")
        return whole.index(part)

    context = edit.get("context", edit["was"])
    begin = only(context, text, f"in {row['file']} it") + only(edit["was"], context, "in its context it")
    return begin, begin + len(edit["was"])


class Span:
    """A piece of the source with its alternatives, and the pieces inside it."""

    def __init__(self, begin, end):
        self.begin, self.end, self.choices, self.inner = begin, end, [], []

    def put(self, begin, end, choice):
        if (begin, end) == (self.begin, self.end):
            return self.choices.append(choice)
        for span in self.inner:
            if span.begin <= begin and end <= span.end:
                return span.put(begin, end, choice)
        new = Span(begin, end)
        inside = [s for s in self.inner if begin <= s.begin and s.end <= end]
        if any(s.begin < end and begin < s.end for s in self.inner if s not in inside):
            sys.exit(f"mutant {choice[0]} cuts another's text")
        new.inner = inside
        self.inner = [s for s in self.inner if s not in inside] + [new]
        new.choices.append(choice)

    def render(self, text):
        out, at = "", self.begin
        for span in sorted(self.inner, key=lambda s: s.begin):
            out += text[at : span.begin] + span.render(text)
            at = span.end
        out += text[at : self.end]
        for number, becomes in self.choices:
            chosen = f"greta_mutant == {number}"
            if text[self.begin : self.end].rstrip().endswith(";"):
                out = f"{{ if ({chosen}) {{ {becomes} }} else {{ {out} }} }}"
            else:
                out = f"({chosen} ? ({becomes}) : ({out}))"
        return out


def mutated(file, mutants):
    text = (ROOT / file).read_text()
    whole = Span(0, len(text))
    for row in mutants:
        for edit in [row, *row.get("more", [])]:
            begin, end = place(row, edit, text)
            whole.put(begin, end, (row["number"], edit["becomes"]))
    return whole.render(text)


def by_file():
    files = {}
    for row in rows():
        files.setdefault(row["file"], []).append(row)
    return {file: mutated(file, mutants) for file, mutants in files.items()}


CHOICE = """#pragma once
#include <bit>
/// The mutant that is switched on; 0: none.
extern "C" const int greta_mutant;
"""


def write_tree(tree):
    """A copy of the sources with all mutants in it."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    wanted = ("src/", "cmake/", "include/", "CMake", "completions/", "docs/", "LICENSE", "README")
    for name in names.decode().split("\0"):
        if name.startswith(wanted) and (ROOT / name).is_file():
            to = tree / name
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists() or to.read_bytes() != (ROOT / name).read_bytes():
                shutil.copyfile(ROOT / name, to)

    def put(name, text):
        to = tree / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists() or to.read_text() != text:
            to.write_text(text)

    put("src/base/mutant.h", CHOICE)
    start = '#pragma GCC diagnostic ignored "-Wextra"\n#include "base/mutant.h"\n'
    files = by_file()
    for file, text in files.items():
        if file.endswith(".cpp"):
            put(file, '#include "base/mutant.h"\n' + text)
    put(
        "src/engine/mutant.cpp",
        '#include "base/mutant.h"\n\n#include <cstdlib>\n\nnamespace {\nint chosen() {\n'
        '  const char* text = std::getenv("GRETA_MUTANT_NUMBER");\n'
        "  return text ? std::atoi(text) : 0;\n}\n}\n"
        'extern "C" const int greta_mutant = chosen();\n',
    )
    # Headers of kernels: a second set, which only the files of the widest ISA include.
    def second(text):
        text = re.sub(r'#include "kernels/cpu/(?!kernel_list|lanes_)', '#include "kernels/mutated/', text)
        return text.replace('#include "kernels/math.h"', '#include "kernels/mutated/math.h"')

    for path in [*(ROOT / "src/kernels/cpu").glob("*.h"), ROOT / "src/kernels/math.h"]:
        name = str(path.relative_to(ROOT))
        text = files.get(name, path.read_text())
        if text.startswith("#pragma once") or path.name != "kernel_list.h":
            put(f"src/kernels/mutated/{path.name}", '#include "base/mutant.h"\n' + second(text))
    for path in (ROOT / "src/kernels/cpu").glob("*_avx512*.cpp"):
        put(str(path.relative_to(ROOT)), second(path.read_text()))


def build(directory):
    tree = pathlib.Path(directory).resolve() / "tree"
    write_tree(tree)
    (tree / "numbers.json").write_text(json.dumps({row["id"]: row["number"] for row in rows()}))
    if not (tree / "build/release/build.ninja").exists():
        options = ["-DBUILD_TESTING=OFF"]
        if shutil.which("ccache"):
            options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        subprocess.run(["cmake", "--preset", "release", *options], cwd=tree, check=True)
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", "greta"], cwd=tree, check=True)
    print(tree / "build/release/greta")


def wanted(row):
    """The stages that are wrong."""
    stages = set(row.get("stages", []))
    for group, names in STAGES.items():
        stages |= set(names) if row.get(group) else set()
    return stages


def isolate(program, row, number, out, seconds):
    """One run, kept as OUT/<id>.json; its verdict is None where it ended without one."""
    with tempfile.TemporaryDirectory() as bundle:
        whole = row.get("equivalent") or row.get("layers", "local") not in ("local", "5,11,17")
        model = MODELS / FILES[row["model"]][0 if whole else 1]
        command = [program, "isolate", "-m", model, "--json", "--force", "--out", bundle]
        if not any(row.get(key) for key in ("layers", "fused", "race", "equivalent")):
            command += ["--layers", "1" if wanted(row) <= LAYERED else "0-1"]
        start = time.monotonic()
        try:
            done = subprocess.run(
                ["nice", *map(str, command)],
                env=os.environ | {"GRETA_MUTANT_NUMBER": str(number)},
                capture_output=True,
                timeout=seconds,
            )
            code, said, error = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as ended:
            code, said, error = "timeout", b"", ended.stderr or b""
        took = time.monotonic() - start
    try:
        verdict = json.loads(said)
        for large in ("cells", "differences", "arithmetic"):
            verdict.pop(large, None)
    except json.JSONDecodeError:
        verdict = None
    result = {"id": row["id"], "code": code, "seconds": round(took, 1)}
    result |= {"error": error.decode()[-2000:], "verdict": verdict}
    (out / f"{row['id']}.json").write_text(json.dumps(result, indent=1))
    return result


def run(directory, out, *ids):
    tree = pathlib.Path(directory).resolve() / "tree"
    program, numbers = tree / "build/release/greta", json.loads((tree / "numbers.json").read_text())
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    todo = [row for row in rows() if (row["id"] in ids if ids else not (out / f"{row['id']}.json").exists())]
    todo.sort(key=lambda row: ("review" in row, list(FILES).index(row["model"])))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda row: isolate(program, row, numbers[row["id"]], out, 150), todo)
        for row, result in zip(todo, results):
            verdict = result["verdict"]
            count = len(verdict["findings"]) if verdict else "-"
            print(row["id"], result["code"], count, result["seconds"], flush=True)


def grade(row, result):
    """What is true of a run: found, place, phase, name; each True, False or None (not asked)."""
    verdict = result["verdict"]
    findings = verdict["findings"] if verdict else []
    if row.get("equivalent"):
        return {"found": None, "false alarm": bool(findings) or result["code"] != 0}
    stages = wanted(row)
    placed = [f for f in findings if f["stage"] in stages]
    # A difference between runs has no stage of its own: it tells where the runs part.
    elsewhere = [f for f in findings if stages and f["stage"] not in stages and not f["difference"]]
    # corrupted_elements says which elements are wrong: a description, no cause.
    named = {f["hypothesis"] for f in findings} - {"unexplained", "ambiguous", "corrupted_elements"}
    right = {name for name in named if re.fullmatch(row.get("names", "(?!)"), name)}
    phases = {f["phase"] for f in (placed or findings)}
    factors = verdict["factors"] if verdict else []
    one_row = any({"S", "kernel"} & set(factor["attributes"]) for factor in factors)
    allowed = {
        "both": {"both", "prefill", "decode"},
        "prefill": {"prefill"},
        "decode": {"decode"},
        # One-token prefills run the kernels of one row; decode with forced GEMM those of several.
        "S=1": {"decode"} | ({"both", "prefill"} if one_row else set()),
        "S>1": {"prefill"} | ({"both", "decode"} if one_row else set()),
    }[row["phases"]]
    return {
        "found": bool(findings),
        "place": bool(findings) and (bool(placed) or not stages or any(f["difference"] for f in findings)),
        "false places": len(elsewhere),
        "phase": bool(findings) and (phases <= allowed or bool(row.get("fused") or row.get("race"))),
        "named": bool(right),
        "wrong": sorted(named - right),
        "nameable": row.get("nameable", True),
    }


def said(g):
    if g["wrong"]:
        return f"**{', '.join(g['wrong'])}**" + (" beside the right one" if g["named"] else "")
    return "named" if g["named"] else "not named" if g["nameable"] else "unexplained"


def percent(part, whole):
    return f"{part}/{whole} = {100 * part / whole:.1f} %" if whole else "-"


def totals(graded):
    bugs = [(row, g) for row, g in graded if g["found"] is not None]
    found = [g for _, g in bugs if g["found"]]
    nameable = [g for _, g in bugs if g["nameable"]]
    named = [g for g in nameable if g["named"]]
    controls = [g for _, g in graded if g["found"] is None]
    alarms = sum(g["false alarm"] for g in controls)
    return [
        ("found", percent(len(found), len(bugs))),
        ("in the right stages, of those found", percent(sum(g["place"] for g in found), len(found))),
        ("with the right phase or kernel", percent(sum(g["phase"] for g in found), len(found))),
        ("rightly named, of those that have a nameable cause", percent(len(named), len(nameable))),
        ("runs with a wrong name", str(sum(bool(g["wrong"]) for g in found))),
        ("healthy stages convicted", str(sum(g["false places"] for g in found))),
        ("equivalent changes that were flagged", f"{alarms} of {len(controls)}"),
    ]


def score(out):
    """Prints the tables of docs/mutants.md."""
    results = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(out).glob("*.json")}
    graded = [(row, grade(row, results[row["id"]])) for row in rows() if row["id"] in results]
    own = totals([(row, g) for row, g in graded if "review" not in row])
    made = totals([(row, g) for row, g in graded if "review" in row])
    print("| | our own | re-made from the review |\n|---|---|---|")
    for (what, a), (_, b) in zip(own, made):
        print(f"| {what} | {a} | {b} |")
    left_out = [row["id"] for row in rows() if row["id"] not in results]
    if left_out:
        print(f"\nNot run: {', '.join(left_out)}.")
    print("\n| mutant | what it does | found | stages | phase | said |\n|---|---|---|---|---|---|")
    mark = {True: "yes", False: "**no**"}
    for row, g in graded:
        name = row["id"] + (f" ({row['review']})" if "review" in row else "")
        if g["found"] is None:
            flagged = "**flagged**" if g["false alarm"] else "no"
            print(f"| {name} | *equivalent:* {row['what']} | {flagged} | | | |")
        elif not g["found"]:
            print(f"| {name} | {row['what']} | **no** | | | |")
        else:
            place = mark[g["place"]] + (f", {g['false places']} false" if g["false places"] else "")
            print(f"| {name} | {row['what']} | yes | {place} | {mark[g['phase']]} | {said(g)} |")


def main():
    command, *rest = sys.argv[1:] or ["help"]
    if command == "check":
        print(f"{len(rows())} mutants of {len(by_file())} files apply")
    elif command == "build":
        build(*rest)
    elif command == "run":
        run(*rest)
    elif command == "score":
        score(*rest)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
