"""Tabulates what vs_llama_cpp.sh measured: greta.N.json and llama.N.json, N = 1..ROUNDS, in FOLDER."""

import json
import pathlib
import statistics
import sys


def read_llama(path):
    prefill = decode = None
    for entry in json.loads(path.read_text()):
        if entry["n_gen"] == 0:
            prefill = entry["avg_ts"]
        elif entry["n_prompt"] == 0:
            decode = entry["avg_ts"]
    if prefill is None or decode is None:
        sys.exit(f"{path.name}: llama-bench reported no prefill or no decode; its JSON has changed")
    return {"prefill": prefill, "decode": decode}


def read_greta(path):
    report = json.loads(path.read_text())
    return {"prefill": report["prefill_tok_s"], "decode": report["decode_tok_s"]}


def main():
    folder, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    greta = [read_greta(folder / f"greta.{i}.json") for i in range(1, rounds + 1)]
    llama = [read_llama(folder / f"llama.{i}.json") for i in range(1, rounds + 1)]

    print(f"{'tok/s':8}{'GRETA':>10}{'llama.cpp':>11}{'ratio':>7}    {'GRETA':>10}{'llama.cpp':>11}{'ratio':>7}")
    print(f"{'round':8}{'prefill':>28}    {'decode':>28}")
    for i, (ours, theirs) in enumerate(zip(greta, llama), 1):
        columns = [f"{ours[p]:10.1f}{theirs[p]:11.1f}{ours[p] / theirs[p]:7.3f}" for p in ("prefill", "decode")]
        print(f"{i:<8}{'    '.join(columns)}")

    print()
    for phase in ("prefill", "decode"):
        medians = {}
        for program, runs in (("GRETA", greta), ("llama.cpp", llama)):
            values = [run[phase] for run in runs]
            medians[program] = statistics.median(values)
            spread = 100 * (max(values) - min(values)) / medians[program]
            print(
                f"{phase:8}{program:10} median {medians[program]:9.1f} tok/s, "
                f"{min(values):.1f} to {max(values):.1f} (spread {spread:.1f} %)"
            )
        # Of each round's pair, so that a slow round weighs on both.
        ratios = [ours[phase] / theirs[phase] for ours, theirs in zip(greta, llama)]
        print(
            f"{phase:8}{'ratio':10} of medians {medians['GRETA'] / medians['llama.cpp']:.3f}, "
            f"by rounds median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
