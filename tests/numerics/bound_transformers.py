"""Whether transformers stays within `greta bound`: prefill against token by token, eager against sdpa, in bf16 and f16 on
the CPU. By hand; needs torch, transformers and gguf, and PYTHONPATH=python:

    greta bound -m MODEL.gguf --stage logprobs --precision bf16 --prompts A.txt,B.txt --json > bound.json
    python3 tests/numerics/bound_transformers.py MODEL.gguf bound.json --greta build/release/greta

A prompt is read as `greta bound` named it: a built-in one by its name, files beside. Prints the largest difference of log
probabilities in units of each position's bound; exit code 1 where one is above 1."""

import argparse
import json
import pathlib
import subprocess
import sys

import torch

from greta.gguf_model import load_gguf

PAIRS = [(("eager", "prefill"), ("eager", "steps")), (("eager", "prefill"), ("sdpa", "prefill")),
         (("sdpa", "prefill"), ("sdpa", "steps")), (("eager", "steps"), ("sdpa", "steps"))]


def tokens_of(greta, model, text):
    out = subprocess.run([greta, "tokenize", "-m", model, "--", text], check=True, capture_output=True, text=True).stdout
    return [int(word) for word in out.split()]


@torch.no_grad()
def logits_of(model, tokens, how):
    if how == "prefill":
        return model(torch.tensor([tokens])).logits[0].double()
    rows, cache = [], None
    for token in tokens:
        step = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        rows.append(step.logits[0, -1].double())
    return torch.stack(rows)


def ratios(bound, prompt, a, b):
    """The largest difference / bound of log probabilities, of the most likely token's, of KL."""
    p, q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    kl = (p.exp() * (p - q)).sum(-1)
    found = {"logprobs": 0.0, "top-1": 0.0, "KL": 0.0}
    for name, place in [("logprobs", bound["places"][0]), ("top-1", bound["top1"]), ("KL", bound["kl"])]:
        for row in place["positions"]:
            at = row["position"]
            if row["prompt"] != prompt:
                continue
            difference = (p[at] - q[at]).abs()
            seen = {"logprobs": difference.max(), "top-1": difference[row["element"]], "KL": kl[at]}[name]
            found[name] = max(found[name], float(seen) / row["bound"])
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("model")
    arguments.add_argument("bound", type=pathlib.Path)
    arguments.add_argument("--greta", default="greta")
    arguments.add_argument("--prompts", type=pathlib.Path, default=pathlib.Path("prompts"), help="folder of NAME.txt")
    given = arguments.parse_args()
    bound = json.loads(given.bound.read_text())
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}[bound["precision"]]
    worst = 0.0
    models = {}
    for attention in ("eager", "sdpa"):
        model = load_gguf(given.model, attention=attention)
        inv_freq = model.model.rotary_emb.inv_freq.clone()
        model = model.to(dtype)
        model.model.rotary_emb.inv_freq = inv_freq  # an engine that loads in bf16 keeps frequencies in f32
        models[attention] = model.eval()
    for prompt in bound["prompts"]:
        tokens = tokens_of(given.greta, given.model, (given.prompts / f"{prompt['id']}.txt").read_text())
        if len(tokens) != prompt["tokens"]:
            sys.exit(f"{prompt['id']}: {len(tokens)} tokens, not {prompt['tokens']}")
        runs = {(a, how): logits_of(models[a], tokens, how) for a in models for how in ("prefill", "steps")}
        for first, second in PAIRS:
            found = ratios(bound, prompt["id"], runs[first], runs[second])
            print(prompt["id"], bound["precision"], *first, "/", *second, *(f"{k} {v:.3f}" for k, v in found.items()))
            worst = max(worst, *found.values())
    print(f"largest {worst:.3f}")
    return 1 if worst > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
