"""Dumps of SGLang (read from its 0.5.23), of either form.

Of --debug-tensor-dump-output-folder: DIR/TP0_PP0_Rank0_pid1/Pass00000.pt, a file for each forward pass with the outputs
of all leaf modules. A pass is written as `model` ends, so what `model` and `logits_processor` give stands in the next
file.
Of DUMPER_ENABLE=1 DUMPER_NON_INTRUSIVE_MODE=all: DIR/EXP/step=S___rank=R___dump_index=I___name=N.pt, a file for each
tensor, {"value", "meta"}.
"""

import pathlib
import re

import numpy as np

from . import Unreadable, torch_load, values_of
from .flat import write_flat

NAME, ABOUT = "sglang", "SGLang's tensor dumps, of either form"
RANK = re.compile(r"TP(\d+)_PP(\d+)_Rank(\d+)_pid\d+")
INFO = "model.forward_batch_info."
HOOKED = "non_intrusive__"
CORE = ("input_ids", "positions", "seq_lens")


def recognises(path):
    path = pathlib.Path(path)
    if not path.is_dir():
        return False
    return any(RANK.fullmatch(child.name) for child in folders(path)) or next(dumper_folders(path), None) is not None


def add_arguments(parser):
    pass


def folders(path):
    return [path, *sorted(child for child in path.iterdir() if child.is_dir())]


def dumper_folders(path):
    return (folder for folder in folders(path) if next(folder.glob("step=*___rank=*___*.pt"), None) is not None)


def load(path, out, args):
    path = pathlib.Path(path)
    ranks = sorted(child for child in folders(path) if RANK.fullmatch(child.name))
    return write_flat(path, out, args, NAME, passes_of_hooks(ranks, args.ranks) if ranks else passes_of_dumper(path))


def outputs_of(value):
    """[(rows, format)] of a tensor or a list of them."""
    return [values_of(tensor) for tensor in (value if isinstance(value, (list, tuple)) else [value])]


def passes_of_hooks(ranks, wanted):
    """([module -> outputs of each tensor-parallel rank], core) of each pass."""
    by_rank = {}
    for folder in ranks:
        tp, pp, _ = map(int, RANK.fullmatch(folder.name).groups())
        if (tp, pp) in by_rank:
            raise Unreadable(f"{folder}: a second process with the rank of {by_rank[tp, pp].name}: two runs in one "
                             "directory")
        by_rank[tp, pp] = folder
    tps = sorted({tp for tp, _ in by_rank})
    if wanted is not None and len(tps) != wanted or tps != list(range(len(tps))):
        raise Unreadable(f"{ranks[0].parent}: of the tensor-parallel ranks {', '.join(map(str, tps))} are there")
    names = sorted({file.name for folder in ranks for file in folder.glob("Pass*.pt")})
    held = [torch_passes(by_rank, tps, name) for name in names[:1]]
    for at in range(len(names)):
        files = held.pop()
        held.append(torch_passes(by_rank, tps, names[at + 1]) if at + 1 < len(names) else [{} for _ in tps])
        core = {name: files[0][INFO + name].tolist() for name in CORE if INFO + name in files[0]}
        if "positions" not in core:
            raise Unreadable(f"{by_rank[tps[0], 0] / names[at]}: has no {INFO}positions: not a pass of a whole model")
        late = ("model", "logits_processor")
        modules = [{name: outputs_of(value) for name, value in file.items()
                    if name not in late and not name.startswith(INFO)} for file in files]
        if "logits_processor" in held[0][0]:  # of this pass: see above
            modules[0]["logits_processor"] = outputs_of(held[0][0]["logits_processor"])
        for own in modules:
            drop_shared_rotary(own)
        yield modules, core


def drop_shared_rotary(modules):
    """SGLang's layers share one rotary_emb, so each of its calls is written under every layer's name: what stands there
    in the end is the last layer's."""
    names = sorted((name for name in modules if name.endswith(".rotary_emb")),
                   key=lambda name: int(name.split(".")[-3]))
    first = [rows for rows, _ in modules[names[0]]] if names else []
    if len(names) > 1 and all(np.array_equal(a, b, equal_nan=True) for name in names[1:]
                              for a, (b, _) in zip(first, modules[name])):
        for name in names[:-1]:
            del modules[name]


def torch_passes(by_rank, tps, name):
    """The pass of each tensor-parallel rank; pipeline stages have layers of their own."""
    merged = []
    for tp in tps:
        modules = {}
        for (own, _), folder in sorted(by_rank.items()):
            if own == tp:
                modules.update(checked_dict(folder / name))
        merged.append(modules)
    return merged


def checked_dict(file):
    value = torch_load(file)
    if not isinstance(value, dict):
        raise Unreadable(f"{file}: expected a dictionary, found {type(value).__name__}")
    return value


def passes_of_dumper(path):
    """The same of files with a tensor each."""
    found = {}
    experiments = list(dumper_folders(path))
    if len(experiments) > 1:
        raise Unreadable(f"{path}: has {len(experiments)} dumps, such as {experiments[0].name}: name one")
    for file in sorted(experiments[0].glob("step=*.pt"), key=lambda file: int(tags_of(file).get("dump_index", 0))):
        tags = tags_of(file)
        value = checked_dict(file)
        if "value" not in value:
            raise Unreadable(f"{file}: has no value: not a file of SGLang's dumper")
        found.setdefault(int(tags["step"]), {}).setdefault(int(tags["rank"]), []).append((tags["name"], value["value"]))
    for step, ranks in sorted(found.items()):
        core, modules = {}, []
        for _, entries in sorted(ranks.items()):
            own = {}
            for name, value in entries:
                if name in CORE:
                    core.setdefault(name, value.tolist())
                elif name.startswith(HOOKED):
                    place_hooked(own, name.removeprefix(HOOKED), value)
            modules.append(own)
        if "positions" not in core:
            raise Unreadable(f"{experiments[0]}: step {step} has no positions: filter less (DUMPER_FILTER)")
        if not any(modules):
            raise Unreadable(f"{experiments[0]}: step {step} has no modules' tensors: record with "
                             "DUMPER_NON_INTRUSIVE_MODE=all")
        yield modules, core


def tags_of(file):
    return dict(tag.split("=", 1) for tag in file.name.removesuffix(".pt").split("___") if "=" in tag)


def place_hooked(modules, name, value):
    """MODULE.output, MODULE.output.1, MODULE.inputs.0: into lists by module."""
    for kind, suffix in ((".output", ""), (".inputs", ".inputs")):
        module, found, rest = name.rpartition(kind)
        if found and (rest == "" or rest[1:].isdigit()) and hasattr(value, "detach"):
            outputs = modules.setdefault(module + suffix, [])
            at = int(rest[1:]) if rest else 0
            if at == len(outputs):
                outputs.append(values_of(value))
            return
        if found and module == "logits_processor" and rest.endswith("next_token_logits"):
            modules[module] = [values_of(value)]
