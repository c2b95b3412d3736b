"""Recordings of FlashInfer's flight recorder (read from its 0.7.2): FLASHINFER_LOGLEVEL=10 leaves, for each call,
DIR/DATE_pidP_FUNCTION_callN/ with metadata.jsonl, inputs and outputs, as .safetensors or .pt.

No layer and no token is named there, so calls are ops, in the order in which they came. Calls of a function that has no
word among GRETA's ops are kept by name, to be counted as unmeasured.
"""

import json
import math
import pathlib
import re

import numpy as np

from ..bundle import BundleWriter
from . import FORMATS, Unreadable, torch_load, values_of

NAME, ABOUT = "flashinfer", "FlashInfer's recordings of level 10"


def recognises(path):
    return (pathlib.Path(path) / "session.jsonl").is_file() or next(calls_in(pathlib.Path(path)), None) is not None


def add_arguments(parser):
    pass


def calls_in(path):
    if (path / "metadata.jsonl").is_file():
        return iter([path])
    return (folder for folder in sorted(path.glob("*_call*")) if (folder / "metadata.jsonl").is_file())


class NotJudged(Exception):
    """Why a call has no op."""


class Call:
    """One recorded call: arguments by the function's own names, results by number."""

    def __init__(self, folder):
        self.folder = folder
        lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        try:
            self.about = json.loads(lines[-1])
            self.name, self.order = self.about["function_name"], (self.about["timestamp"], self.about["call_sequence"])
            signature, given = self.about["function_signature"], self.about["input_metadata"]
            self.owner = (self.about["process_id"], self.about.get("self_id"))
            self.status = self.about["execution_status"]
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise Unreadable(f"{folder / 'metadata.jsonl'}: no record of a call: {error}") from None
        names = parameters_of(signature)
        self._tensors = tensors_in(folder, "inputs")
        self.outputs = tensors_in(folder, "outputs")
        self._values = {self._own_name(key, names): value for key, value in given.items()}
        self._values.update({self._own_name(key, names): tensor for key, tensor in self._tensors.items()
                             if "__" not in key.removeprefix("kwarg_")})

    def _own_name(self, key, names):
        if key.startswith("arg_") and key[4:].isdigit():
            at = int(key[4:])
            return names[at] if at < len(names) else key
        return key.removeprefix("kwarg_")

    def get(self, name, default=None):
        """A number, a text, (values, format) of a tensor, or a list of such; default for what was not given."""
        value = self._values.get(name)
        if isinstance(value, dict):
            if value.get("type") == "torch.Tensor":
                value = self._tensors.get(value.get("tensor_key"))
            elif value.get("type") in ("tuple", "list") and "items" in value:
                value = [self._tensors.get(item.get("tensor_key")) if isinstance(item, dict) else item
                         for item in value["items"]]
            elif value.get("type") in ("enum", "torch.dtype"):
                value = value["value"]
            else:
                value = None
        return default if value is None else value

    def need(self, name):
        value = self.get(name)
        if value is None:
            raise NotJudged(f"{name} was not recorded")
        return value

    def result(self):
        """The first output. Where `out` was given, it is that one."""
        for key in ("result", "result_0"):
            if key in self.outputs:
                return self.outputs[key]
        raise NotJudged("no output was recorded: its result lies in an argument, or it did not end")


def parameters_of(signature):
    """Names of "(self, q: torch.Tensor, scale: Optional[float] = None) -> ...", in order."""
    names, depth, text = [], 0, ""
    for letter in signature[1:]:
        if depth == 0 and letter in ",)":
            name = re.match(r"\s*(\*{0,2}\w*)", text)[1]
            if name and name not in ("*", "/"):
                names.append(name)
            text = ""
            if letter == ")":
                break
            continue
        depth += (letter in "([{") - (letter in ")]}")
        text += letter
    return names


def tensors_in(folder, kind):
    """key -> (f32 values, format)."""
    if (path := folder / f"{kind}.safetensors").is_file():
        try:
            from safetensors import safe_open
        except ImportError:
            raise Unreadable(f"{path}: pip install safetensors") from None
        try:
            with safe_open(path, framework="pt") as file:
                return {key: values_of(file.get_tensor(key)) for key in file.keys()}
        except Exception as error:
            raise Unreadable(f"{path}: safetensors cannot read it: {str(error).splitlines()[0][:200]}") from None
    if (path := folder / f"{kind}.pt").is_file():
        loaded = torch_load(path)
        if not isinstance(loaded, dict):
            raise Unreadable(f"{path}: expected a dictionary, found {type(loaded).__name__}")
        return {key: values_of(tensor) for key, tensor in loaded.items() if hasattr(tensor, "detach")}
    return {}


def load(path, out, args):
    path = pathlib.Path(path)
    calls = sorted((Call(folder) for folder in calls_in(path)), key=lambda call: call.order)
    if not calls:
        raise Unreadable(f"{path}: no call is recorded there (a folder with metadata.jsonl)")
    version = calls[0].about.get("versions", {}).get("flashinfer", "")
    writer = BundleWriter(out, {"engine": "flashinfer", "version": str(version), "kernels": {},
                                "prompts": [{"id": "calls"}], "options": {"import": NAME}})
    plans, notes, unknown = {}, [], {}
    for number, call in enumerate(calls):
        function = call.name.rpartition(".")[2]
        if function == "plan":
            plans[call.owner] = call
            continue
        if function in NO_OPS:
            continue
        read = OPS.get(call.name, OPS.get(function))
        ops = Ops(writer, call, f"{call.name}.{call.about['call_sequence']:04}")
        try:
            if read is None:
                raise NotJudged("GRETA has no word for it")
            read(call, ops, plans.get(call.owner))
        except NotJudged as why:
            unknown.setdefault((call.name, str(why)), []).append(number)
            ops.unmeasured(function)
        writer.flush()
    notes += [f"{len(of)} call{'s' if len(of) > 1 else ''} of {name} not judged: {why}"
              for (name, why), of in sorted(unknown.items())]
    writer.close(complete=all(call.status != "inputs_saved" for call in calls))
    return notes


class Ops:
    """Writes the ops that a call comes to."""

    def __init__(self, writer, call, name):
        self._writer, self._call, self.name = writer, call, name
        self.phase = "decode" if "decode" in call.name.lower() else "prefill"

    def op(self, op, inputs, output, attributes=None, part=None):
        """inputs, output: (values, format); None for one that there is not. part: which request of a batch."""
        own = self.name if part is None else f"{self.name}.r{part}"
        names = []
        for at, tensor in enumerate(inputs):
            if tensor is None:
                continue
            values, held = tensor
            names.append(f"{own}.in{at}")
            self._writer.add_tensor(values, name=names[-1], prompt_id="calls", phase=self.phase, dtype=held)
        values, held = output
        self._writer.add_tensor(values, name=own, prompt_id="calls", phase=self.phase, dtype=held, op=op, inputs=names,
                                attributes=attributes or {}, kernel=f"flashinfer.{self._call.name}")

    def unmeasured(self, function):
        output = next(iter(self._call.outputs.values()), (np.zeros(1, np.float32), "f32"))
        self.op(function, [], output)


# What each function computes.

def attend(call, ops, q, k, v, out, *, causal, plan=None, part=None, of=None):
    """q, out [rows, heads, d]; k, v [positions, kv heads, d]. of: where options stand, the call's own or its plan's."""
    def option(name, default):
        return call.get(name, default if plan is None else plan.get(name, default))

    if option("pos_encoding_mode", "NONE") not in ("NONE", 0):
        raise NotJudged(f"it applies RoPE itself ({option('pos_encoding_mode', '')})")
    if option("custom_mask", None) is not None or option("packed_custom_mask", None) is not None:
        raise NotJudged("its mask is packed")
    scale = option("sm_scale", None) or 1 / math.sqrt(q[0].shape[-1])
    for name in ("q_scale", "k_scale", "scale_q", "scale_k"):
        scale *= number_of(call, name)
    after = number_of(call, "v_scale") * number_of(call, "scale_v")
    if after != 1:
        v = (v[0] * np.float32(after), v[1])
    rows, keys, window = q[0].shape[0], k[0].shape[0], int(option("window_left", -1))
    mask = None
    at, key = np.arange(keys - rows, keys)[:, None], np.arange(keys)[None, :]
    if window >= 0:
        mask = (np.where(key < at - window, -np.inf, 0).astype(np.float32), "f32")
    sinks = call.get("sinks")
    if sinks is not None and mask is None:
        mask = (np.zeros((rows, keys), np.float32), "f32")
    attributes = {"scale": float(scale), "softcap": float(option("logits_soft_cap", 0.0) or 0.0), "causal": int(causal)}
    ops.op("flash_attention", [q, k, v, mask, sinks], out, attributes, part)


def number_of(call, name):
    value = call.get(name, 1.0)
    if isinstance(value, tuple):
        if value[0].size != 1:
            raise NotJudged(f"{name} is one for each head")
        return float(value[0].reshape(-1)[0])
    return float(value)


def token_first(tensor, layout):
    """A cache [kv heads, positions, d] -> [positions, kv heads, d]."""
    values, held = tensor
    return (values.swapaxes(-3, -2), held) if layout == "HND" else tensor


def single_decode(call, ops, plan):
    q, layout = call.need("q"), call.get("kv_layout", "NHD")
    k, v = (token_first(call.need(name), layout) for name in "kv")
    out = call.result()
    attend(call, ops, (q[0][None], q[1]), k, v, (out[0][None], out[1]), causal=True)


def single_prefill(call, ops, plan):
    layout = call.get("kv_layout", "NHD")
    k, v = (token_first(call.need(name), layout) for name in "kv")
    attend(call, ops, call.need("q"), k, v, call.result(), causal=bool(call.get("causal", False)))


def ints(tensor):
    return [int(value) for value in tensor[0].reshape(-1)]


def pages_of(call):
    """The two paged caches, [pages, .., .., d] each."""
    cache = call.need("paged_kv_cache")
    if isinstance(cache, list):
        if len(cache) != 2 or None in cache:
            raise NotJudged("its cache is no pair of tensors")
        return cache
    values, held = cache
    if values.ndim != 5 or values.shape[1] != 2:
        raise NotJudged(f"its cache has the shape {list(values.shape)}")
    return [(values[:, 0], held), (values[:, 1], held)]


def rows_of_pages(pages, ids, count, layout):
    """The first `count` positions of a request, [positions, kv heads, d]."""
    values, held = pages
    own = values[ids]
    own = own.swapaxes(1, 2) if layout == "HND" else own
    own = own.reshape(-1, *own.shape[2:])
    if count > len(own):
        raise NotJudged(f"its plan speaks of {count} positions, its pages have {len(own)}")
    return own[:count], held


def layout_of_wrapper(call, plan, pages, kv_heads):
    """NHD or HND: the wrapper's own, which a call does not record; its shape tells, unless both fit."""
    page = int(plan.need("page_size"))
    axes = pages[0].shape[1:3]
    if axes == (page, kv_heads):
        return "NHD"  # FlashInfer's default where both fit
    if axes == (kv_heads, page):
        return "HND"
    raise NotJudged(f"its pages have the shape {list(axes)}, and its plan {page} positions and {kv_heads} heads")


def paged(call, ops, plan):
    if plan is None:
        raise NotJudged("its plan was not recorded (FLASHINFER_DUMP_INCLUDE leaves plan out?)")
    decode = "Decode" in call.name
    q, out, (keys, values) = call.need("q"), call.result(), pages_of(call)
    prefix = "" if decode else "paged_kv_"
    starts, pages, last = (ints(plan.need(prefix + name)) for name in ("indptr", "indices", "last_page_len"))
    rows = list(range(len(starts))) if decode else ints(plan.need("qo_indptr"))
    layout = layout_of_wrapper(call, plan, keys, int(plan.need("num_kv_heads")))
    page = int(plan.need("page_size"))
    for request in range(len(starts) - 1):
        ids = pages[starts[request]:starts[request + 1]]
        if not ids or max(ids) >= len(keys[0]) or min(ids) < 0:
            raise NotJudged("its plan names pages that the cache has not")
        count = (len(ids) - 1) * page + last[request]
        own = slice(rows[request], rows[request + 1])
        k, v = (rows_of_pages(cache, ids, count, layout) for cache in (keys, values))
        attend(call, ops, (q[0][own], q[1]), k, v, (out[0][own], out[1]), plan=plan, part=request,
               causal=decode or bool(plan.get("causal", False)))


def ragged(call, ops, plan):
    if plan is None:
        raise NotJudged("its plan was not recorded (FLASHINFER_DUMP_INCLUDE leaves plan out?)")
    rows, keys = ints(plan.need("qo_indptr")), ints(plan.need("kv_indptr"))
    (q, held), out = call.need("q"), call.result()
    k, v = call.need("k"), call.need("v")
    for request in range(len(rows) - 1):
        own, its = slice(rows[request], rows[request + 1]), slice(keys[request], keys[request + 1])
        attend(call, ops, (q[own], held), (k[0][its], k[1]), (v[0][its], v[1]), (out[0][own], out[1]), plan=plan,
               part=request, causal=bool(plan.get("causal", False)))


def norm(plus_one):
    def read(call, ops, plan):
        weight, held = call.need("weight")
        ops.op("rms_norm", [call.need("input"), (weight + np.float32(plus_one), "f32" if plus_one else held)],
               call.result(), {"eps": float(call.get("eps", 1e-6))})

    return read


def gated(activation):
    def read(call, ops, plan):
        ops.op("glu", [call.need("input")], call.result(), {"activation": activation})

    return read


NO_OPS = {"__init__", "begin_forward", "end_forward", "workspace_size", "reset_workspace_buffer"}
WRAPPERS = ("BatchDecodeWithPagedKVCacheWrapper", "CUDAGraphBatchDecodeWithPagedKVCacheWrapper",
            "BatchPrefillWithPagedKVCacheWrapper")
PAGED = {f"{wrapper}.{method}": paged for wrapper in WRAPPERS for method in ("run", "forward")}
OPS = {
    "single_decode_with_kv_cache": single_decode, "single_prefill_with_kv_cache": single_prefill, **PAGED,
    "BatchPrefillWithRaggedKVCacheWrapper.run": ragged,
    "rmsnorm": norm(0), "gemma_rmsnorm": norm(1),
    "silu_and_mul": gated("silu"), "gelu_tanh_and_mul": gated("gelu"), "gelu_and_mul": gated("gelu_erf"),
}
