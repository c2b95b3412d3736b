"""Trees of .npy files, and .safetensors files, with a map that says what each tensor is (docs/capture.md).

A tensor's name is its file's path in the tree without the suffix, and in a .safetensors file /NAME after that. The map
is JSON: {"rules": [{"match": EXPRESSION, "stage": "q", ...}], "manifest": {}, "kernels": {}, "positions": {}, ...}. The
first rule whose expression is the whole name says what the tensor is.
"""

import json
import pathlib
import re

import numpy as np

from ..bundle import BundleWriter
from ..model_shape import describe, of_path
from ..rope_rows import halves_to_pairs
from . import Unreadable

NAME, ABOUT = "npy", ".npy and .safetensors files, by a map"
FIELDS = {"match": str, "stage": str, "op": str, "ignore": bool, "layer": int, "phase": str, "prompt": str, "name": str,
          "index": list, "transpose": list, "rope_rows": str, "positions": list, "part": int, "dtype": str,
          "kernel": str, "inputs": list, "attributes": dict, "unscaled": bool, "unmasked": bool}
TOP = {"rules": list, "manifest": dict, "kernels": dict, "positions": dict, "phases": dict}


def recognises(path):
    path = pathlib.Path(path)
    return path.is_dir() and next(path.rglob("*.npy"), None) is not None


def add_arguments(parser):
    parser.add_argument("--map", metavar="FILE", help="of npy: JSON that says what each tensor is")


def load(path, out, args):
    if args.map is None:
        raise ValueError("--map FILE is needed: names of files do not say what they hold")
    return load_by(pathlib.Path(path), out, args, read_map(args.map))


def read_map(path):
    """ValueError that names the rule for what is no map."""
    with open(path, encoding="utf-8") as file:
        try:
            text = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return checked(text, str(path))


def checked(text, where):
    def demand(value, known, place):
        if not isinstance(value, dict):
            raise ValueError(f"{place}: expected an object")
        for key, kind in value.items():
            if key not in known:
                raise ValueError(f"{place}: \"{key}\" is not known; known are {', '.join(known)}")
            if not isinstance(kind, known[key]):
                raise ValueError(f"{place}: \"{key}\" must be {known[key].__name__}")

    demand(text, TOP, where)
    for at, rule in enumerate(text.get("rules", [])):
        place = f"{where}: rule {at}"
        demand(rule, FIELDS, place)
        if "match" not in rule or sum(kind in rule for kind in ("stage", "op", "ignore", "name")) < 1:
            raise ValueError(f"{place}: needs \"match\", and \"stage\", \"op\", \"name\" or \"ignore\"")
        if rule.get("rope_rows", "pairs") not in ("pairs", "halves"):
            raise ValueError(f"{place}: \"rope_rows\" is pairs or halves")
        try:
            re.compile(rule["match"])
        except re.error as error:
            raise ValueError(f"{place}: \"match\" is no regular expression: {error}") from None
    if not text.get("rules"):
        raise ValueError(f"{where}: has no rules")
    return text


def tensors_of(path):
    """(name, values, format) of all that lies there, in the order of names."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in (".npy", ".safetensors"))
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        name = name.removesuffix(file.suffix)
        if file.suffix == ".safetensors":
            yield from safetensors_of(file, "" if path.is_file() else name + "/")
            continue
        try:
            values = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise Unreadable(f"{file}: no array of numpy: {str(error).splitlines()[0]}") from None
        held = {"float16": "f16", "float64": "f64"}.get(values.dtype.name, "f32")
        if values.dtype.kind not in "fiub":
            raise Unreadable(f"{file}: values of {values.dtype} are not known")
        yield name, values.astype(np.float32), held


def safetensors_of(file, prefix):
    try:
        from safetensors import safe_open
    except ImportError:
        raise Unreadable(f"{file}: pip install safetensors") from None
    try:
        with safe_open(file, framework="numpy") as tensors:
            for key in sorted(tensors.keys()):
                values = tensors.get_tensor(key)
                yield prefix + key, values.astype(np.float32), {"float16": "f16"}.get(values.dtype.name, "f32")
    except Exception as error:
        raise Unreadable(f"{file}: safetensors cannot read it: {str(error).splitlines()[0][:200]}") from None


def load_by(path, out, args, rules):
    shape = None if args.model is None else of_path(args.model)
    manifest = {"engine": "unknown", "aligned": False, "options": {"import": NAME}, **rules.get("manifest", {}),
                "kernels": rules.get("kernels", {})}
    if shape is not None:
        manifest["model"] = describe(shape, args.model)
    tree = Tree(rules, shape, args.rope_rows)
    found = []
    for name, values, held in tensors_of(path):
        if (event := tree.event_of(name, values, held)) is not None:
            found.append(event)
    if not found:
        raise Unreadable(f"{path}: no tensor there is one that the map knows" +
                         (f"; such as {tree.left[0]}" if tree.left else ""))
    writer = BundleWriter(out, manifest)
    tree.write(writer, found)
    writer.manifest.setdefault("prompts", [{"id": prompt} for prompt in sorted({event["prompt"] for event in found})])
    writer.close(complete=True)
    return [f"{len(tree.left)} tensors are of no rule, such as {tree.left[0]}"] if tree.left else []


class Tree:
    def __init__(self, rules, shape, rope_rows):
        self.rules = [(re.compile(rule["match"]), rule) for rule in rules["rules"]]
        self.positions, self.phases = rules.get("positions", {}), rules.get("phases", {})
        self.shape, self.rope_rows, self.left = shape, rope_rows, []

    def event_of(self, name, values, held):
        """What the first rule that knows the name says of it; None for what is left out."""
        for expression, rule in self.rules:
            if match := expression.fullmatch(name):
                break
        else:
            self.left.append(name)
            return None
        if rule.get("ignore"):
            return None
        said = {**rule, **{key: value for key, value in match.groupdict().items() if value is not None}}
        phase = said.get("phase", "prefill")
        event = {"prompt": said.get("prompt", "prompt"), "phase": self.phases.get(phase, phase), "rule": rule,
                 "layer": int(said.get("layer", -1)), "of": name, "held": rule.get("dtype", held)}
        try:
            values = values[tuple(int(at) for at in rule.get("index", []))]
            values = values.transpose(rule["transpose"]) if "transpose" in rule else values
            if "stage" in said:
                event.update(stage=said["stage"])
                values, event["positions"] = self._rows(values, event, rule)
        except (ValueError, IndexError, TypeError) as error:
            raise Unreadable(f"{name}: of the shape {list(values.shape)}: {error}") from None
        event["values"] = values
        return event

    def _rows(self, values, event, rule):
        """[positions, ..], in the order of the GGUF's rows, and which positions."""
        where = rule.get("positions", self.positions.get(event["phase"]))
        first, last = (0, len(values) - 1) if where is None else map(int, (where[0], where[-1]))
        if event["stage"] == "kv_write":
            first = 0
        if len(values) < last - first + 1:
            raise ValueError(f"{len(values)} rows, and positions {first} to {last}: say \"positions\" or \"transpose\"")
        values = values[:last - first + 1]
        if event["stage"] not in ("qk", "softmax"):
            values = values.reshape(len(values), -1)
        rows = rule.get("rope_rows", self.rope_rows)
        turned = event["stage"] in ("q", "k", "q_rope", "k_rope") or (event["stage"] == "kv_write" and
                                                                      rule.get("part", 0) == 0)
        if rows == "pairs" and turned:
            if self.shape is None:
                raise ValueError("\"rope_rows\" needs -m MODEL, which says how wide a head is")
            half = values.shape[1] // (2 if event["stage"] == "kv_write" and "part" not in rule else 1)
            values = np.concatenate((halves_to_pairs(values[:, :half], self.shape.head_dim), values[:, half:]), axis=1)
        return values, (first, last)

    def write(self, writer, events):
        parts = {}
        for event in events:
            rule = event["rule"]
            fields = {key: rule[key] for key in ("kernel", "unscaled", "unmasked") if key in rule}
            if "part" in rule:  # keys, then values
                at = (event["prompt"], event["phase"], event["layer"], event["stage"])
                parts.setdefault(at, []).append((rule["part"], event, fields))
                continue
            self._write(writer, event, event["values"], fields)
        for of in parts.values():
            of.sort(key=lambda part: part[0])
            _, event, fields = of[0]
            self._write(writer, event, np.concatenate([part["values"] for _, part, _ in of], axis=1), fields)

    def _write(self, writer, event, values, fields):
        try:
            if "stage" in event:
                writer.add(values, prompt_id=event["prompt"], phase=event["phase"], layer=event["layer"],
                           stage=event["stage"], positions=event["positions"], dtype=event["held"], **fields)
                return
            rule = event["rule"]
            if "op" in rule:
                fields.update(op=rule["op"], attributes=rule.get("attributes", {}),
                              inputs=[re.sub(r"\{(\w+)\}", lambda m: str(event.get(m[1], m[0])), name)
                                      for name in rule.get("inputs", [])])
            if event["layer"] >= 0:
                fields["layer"] = event["layer"]
            name = re.sub(r"\{(\w+)\}", lambda m: str(event.get(m[1], m[0])), rule.get("name", event["of"]))
            writer.add_tensor(values, name=name, prompt_id=event["prompt"], phase=event["phase"], dtype=event["held"],
                              **fields)
        except ValueError as error:
            raise ValueError(f"{event['of']}: {error}; do two tensors match one rule?") from None
