"""What greta.vllm_plugin left (run with vLLM 0.32): DIR/tpT-ppP/passN.safetensors, modules' outputs as MODULE/N."""

import json
import pathlib
import re

from . import Unreadable, values_of
from .flat import write_flat

NAME, ABOUT = "vllm", "what GRETA's plugin recorded in vLLM"
RANK = re.compile(r"tp(\d+)-pp(\d+)")


def recognises(path):
    path = pathlib.Path(path)
    return path.is_dir() and any(RANK.fullmatch(child.name) for child in path.iterdir())


def add_arguments(parser):
    pass


def load(path, out, args):
    return write_flat(path, out, args, NAME, passes_of(pathlib.Path(path), args.ranks))


def passes_of(path, wanted):
    by_rank = {tuple(map(int, RANK.fullmatch(folder.name).groups())): folder for folder in path.iterdir()
               if RANK.fullmatch(folder.name)}
    tps = sorted({tp for tp, _ in by_rank})
    if wanted is not None and len(tps) != wanted or tps != list(range(len(tps))):
        raise Unreadable(f"{path}: of the tensor-parallel ranks {', '.join(map(str, tps))} are there")
    for name in sorted({file.name for folder in by_rank.values() for file in folder.glob("pass*.safetensors")}):
        modules, core = [], None
        for tp in tps:
            merged = {}
            for (own, _), folder in sorted(by_rank.items()):
                if own == tp:
                    core = read_pass(folder / name, merged)
            modules.append(merged)
        yield modules, core


def read_pass(file, modules):
    """Adds the file's modules; what it says of the rows. Rows beyond the batch are padding."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise Unreadable(f"{file}: pip install safetensors torch") from None
    try:
        with safe_open(file, framework="pt") as tensors:
            core = json.loads(tensors.metadata()["greta"])
            rows, found = int(core["rows"]), {}
            for key in tensors.keys():
                module, _, at = key.rpartition("/")
                found[module, int(at)] = values_of(tensors.get_tensor(key))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise Unreadable(f"{file}: no pass of the plugin: {str(error).splitlines()[0][:200]}") from None
    norms = [len(values) for (module, _), (values, _) in found.items() if module.endswith("layernorm")]
    padded = max(norms, default=rows)
    for (module, at), (values, held) in sorted(found.items()):
        if len(values) > 0 and len(values) % padded == 0 and module != "logits_processor":
            values = values[:len(values) // padded * rows]
        modules.setdefault(module, []).append((values, held))
    return core
