"""What TensorRT Edge-LLM leaves with EDGELLM_DUMP_LOGITS_KVCACHE_DIR (0.11): one .safetensors file with round_R.logits
and round_R.layer_I.kv [batch, 2, kv heads, most positions, head_dim]. Round 0 is the prompt, the others a step each.

Neither says from what it was computed, so `diagnose` has little to judge; `compare` holds two such runs against each
other.
Written from that description: no file of a real run was seen.
"""

import pathlib

from . import Unreadable
from .npy import checked, load_by

NAME, ABOUT = "edge-llm", "TensorRT Edge-LLM's logits and caches"


def file_of(path):
    path = pathlib.Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        return files[0] if len(files) == 1 else None
    return path if path.suffix == ".safetensors" else None


def recognises(path):
    file = file_of(path)
    if file is None:
        return False
    with open(file, "rb") as opened:
        head = opened.read(1 << 16)
    return b'"round_0.logits"' in head or b'"round_0.layer_' in head


def add_arguments(parser):
    parser.add_argument("--prompt-length", type=int, metavar="N", help="of edge-llm: tokens of the prompt")


def load(path, out, args):
    file = file_of(path)
    if file is None:
        raise Unreadable(f"{path}: expected one .safetensors file")
    if args.prompt_length is None or args.prompt_length < 1:
        raise ValueError("--prompt-length N is needed: the caches do not say how many of their positions are used")
    last = args.prompt_length - 1
    rounds = 1 + max(int(name.split(".")[0].removeprefix("round_")) for name in names_of(file))
    phases = {"0": "prefill", **{str(r): f"decode{r - 1}" for r in range(1, rounds)}}
    places = {phase: [last + int(r), last + int(r)] for r, phase in phases.items()}
    return load_by(file, out, args, checked({
        "manifest": {"engine": "tensorrt-edge-llm"}, "phases": phases, "positions": places, "rules": [
            {"match": r"round_(?P<phase>\d+)\.logits", "stage": "logits", "index": [0]},
            {"match": r"round_(?P<phase>\d+)\.layer_(?P<layer>\d+)\.kv", "stage": "kv_write", "index": [0],
             "transpose": [2, 0, 1, 3]}]}, NAME))


def names_of(file):
    try:
        from safetensors import safe_open

        with safe_open(file, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if name.startswith("round_") and name.split(".")[0][6:].isdigit()]
    except ImportError:
        raise Unreadable(f"{file}: pip install safetensors") from None
    except Exception as error:
        raise Unreadable(f"{file}: safetensors cannot read it: {str(error).splitlines()[0][:200]}") from None
    if not names:
        raise Unreadable(f"{file}: has no round_0.logits")
    return names
