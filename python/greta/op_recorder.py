"""Records a PyTorch model of any architecture as ops: what its modules of known kinds, and torch's own functions of
attention, compute, with their inputs and weights in the bundle. No stage has a name there, and no model file is needed.
Needs torch."""

import contextlib
import inspect
import re

import torch
from torch.overrides import TorchFunctionMode

from .bundle import BundleWriter
from .importers import values_of

LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
PLUS_ONE = re.compile(r"\b1(\.0)? \+ self\.weight")  # Gemma's norms, and others'
ACTIVATIONS = {"SiLU": "silu", "SiLUActivation": "silu", "NewGELUActivation": "gelu", "PytorchGELUTanh": "gelu",
               "GELUTanh": "gelu", "GELUActivation": "gelu_erf", "QuickGELUActivation": "gelu_quick", "ReLU": "relu",
               "Sigmoid": "sigmoid", "Tanh": "tanh"}


def activation_of(module):
    if isinstance(module, torch.nn.GELU):
        return "gelu" if module.approximate == "tanh" else "gelu_erf"
    return ACTIVATIONS.get(type(module).__name__)


def epsilon_of(module):
    return next((float(getattr(module, name)) for name in ("variance_epsilon", "eps") if hasattr(module, name)), None)


class Functions(TorchFunctionMode):
    """Sees the functions of attention, which are no modules."""

    def __init__(self, see):
        super().__init__()
        self._see = see

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.nn.functional.scaled_dot_product_attention:
            with torch._C.DisableTorchFunctionSubclass():
                self._see(args, kwargs or {}, out)
        return out


class OpRecorder:
    """Records forward passes of `model` into the new directory `out`:

        with OpRecorder(model, "out") as recorder:
            with recorder.phase("prefill"):
                model(ids)

    layers: those to record, by the number in a module's name (default all; what is in none is always recorded).
    """

    def __init__(self, model, out, *, prompt_id="prompt", layers=None, manifest=None):
        self._model, self._prompt, self._layers = model, prompt_id, None if layers is None else set(layers)
        self._writer = BundleWriter(out, {
            "engine": "torch", "version": torch.__version__, "device": str(next(model.parameters()).device),
            "kernels": {}, "prompts": [{"id": prompt_id}], **(manifest or {})})
        self._undo, self._phase, self._calls, self._inside = contextlib.ExitStack(), None, {}, [""]
        self._weights = {}
        self.unseen = set()  # classes of leaf modules that have no word

    def __enter__(self):
        for name, module in self._model.named_modules():
            self._watch(name, module)
        return self

    def __exit__(self, kind, error, trace):
        self._undo.close()
        self._writer.close(complete=kind is None)

    @contextlib.contextmanager
    def phase(self, name):
        self._phase, self._calls = name, {}
        try:
            with Functions(self._see_attention):
                yield
        finally:
            self._phase = None
        self._writer.flush()

    def _watch(self, name, module):
        kinds = {torch.nn.Linear: self._linear, torch.nn.Embedding: self._embedding,
                 torch.nn.LayerNorm: self._layer_norm}
        see = kinds.get(type(module))  # subclasses may do more: scale, for one
        if type(module).__name__.endswith("RMSNorm") and epsilon_of(module) is not None:
            see = self._rms_norm
        elif activation_of(module):
            see = self._activation
        elif see is None and not list(module.children()) and list(module.parameters()):
            self.unseen.add(type(module).__name__)

        def hook(_, args, out):
            self._inside.pop()
            if see is not None and self._phase and args and isinstance(args[0], torch.Tensor):
                see(name, module, args[0], out)

        self._undo.callback(module.register_forward_pre_hook(lambda *_: self._inside.append(name)).remove)
        self._undo.callback(module.register_forward_hook(hook).remove)

    # What is written.

    def _tensor(self, name, tensor):
        """A tensor that ops may name; the name."""
        values, held = values_of(tensor)
        self._writer.add_tensor(values.copy(), name=name, prompt_id=self._prompt, phase=self._phase, dtype=held)
        return name

    def _weight(self, name, tensor, plus=0):
        if name not in self._weights:
            self._weights[name] = self._tensor(name, tensor.detach().float() + plus if plus else tensor)
        return name

    def _op(self, name, op, inputs, out, attributes=None):
        """inputs(own name) -> names. Nothing of a layer that was not asked for."""
        layer = LAYER.search(name + ".")
        if layer and self._layers is not None and int(layer[1]) not in self._layers:
            return
        call = self._calls[name, op] = self._calls.get((name, op), -1) + 1
        own = f"{name}#{call}" if call else name
        values, held = values_of(out)
        self._writer.add_tensor(
            values.copy(), name=own, prompt_id=self._prompt, phase=self._phase, dtype=held, op=op, inputs=inputs(own),
            attributes=attributes or {}, kernel=f"torch.{op}.{held}", **({"layer": int(layer[1])} if layer else {}))

    @staticmethod
    def _rows(tensor):
        return tensor.reshape(-1, tensor.shape[-1])

    def _linear(self, name, module, x, out):
        if module.bias is None:
            self._op(name, "mul_mat", lambda own: [self._weight(name + ".weight", module.weight),
                                                   self._tensor(own + ".x", self._rows(x))], self._rows(out))
            return
        with torch.no_grad():  # the product alone is not shown: a bias is the last column of a weight, and x has a 1
            weight = torch.cat((module.weight, module.bias[:, None]), 1)
            rows = torch.cat((self._rows(x), torch.ones_like(self._rows(x)[:, :1])), 1)
        self._op(name, "mul_mat", lambda own: [self._weight(name + ".weight", weight), self._tensor(own + ".x", rows)],
                 self._rows(out))

    def _embedding(self, name, module, ids, out):
        self._op(name, "get_rows", lambda own: [self._weight(name + ".weight", module.weight),
                                                self._tensor(own + ".ids", ids.reshape(-1))], self._rows(out))

    def _rms_norm(self, name, module, x, out):
        plus = 1 if PLUS_ONE.search(inspect.getsource(type(module))) else 0
        weight = getattr(module, "weight", None)
        self._op(name, "rms_norm", lambda own: [self._tensor(own + ".x", x)] + (
            [] if weight is None else [self._weight(name + ".weight", weight, plus)]), out, {"eps": epsilon_of(module)})

    def _layer_norm(self, name, module, x, out):
        if module.weight is None or module.bias is None:
            return
        self._op(name, "norm", lambda own: [self._tensor(own + ".x", x), self._weight(name + ".weight", module.weight),
                                            self._weight(name + ".bias", module.bias)], out, {"eps": module.eps})

    def _activation(self, name, module, x, out):
        self._op(name, "unary", lambda own: [self._tensor(own + ".x", x)], out, {"activation": activation_of(module)})

    def _see_attention(self, args, kwargs, out):
        if not self._phase:
            return
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args)) | kwargs
        q, k, v, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
        if q.ndim != 4:
            return
        scale = given.get("scale") or q.shape[-1]**-0.5
        name = self._inside[-1]
        for sequence in range(q.shape[0]):
            rows = [x[sequence].transpose(0, 1) for x in (q, k, v, out)]

            def inputs(own, rows=rows, sequence=sequence):
                names = [self._tensor(f"{own}.{part}", x) for part, x in zip("qkv", rows)]
                if mask is not None:
                    its = mask.expand(q.shape[0], -1, -1, -1)[sequence]
                    its = torch.zeros_like(its, dtype=torch.float32).masked_fill(~its, -torch.inf) if (
                        its.dtype == torch.bool) else its.float()
                    its = its.expand(q.shape[1], *its.shape[1:]) if its.shape[0] != 1 else its
                    its = its[0] if its.shape[0] == 1 else its.transpose(0, 1)
                    names.append(self._tensor(f"{own}.mask", its))
                return names

            self._op(f"{name}.sdpa" + (f".{sequence}" if q.shape[0] > 1 else ""), "flash_attention", inputs, rows[3],
                     {"scale": scale, "causal": int(bool(given.get("is_causal")))})


@torch.no_grad()
def capture_ops(model, tokens, out, *, decode=True, **options):
    """Records the prefill of `tokens` and, with decode, one step of the last token again where the model has a cache
    that can be cropped. The options are OpRecorder's. Classes of modules that were not recorded."""
    import transformers

    ids = torch.tensor([list(map(int, tokens))], device=next(model.parameters()).device)
    cache = None
    with OpRecorder(model, out, **options) as recorder:
        with recorder.phase("prefill"):
            result = model(ids, use_cache=True)
        cache = getattr(result, "past_key_values", None)
        if decode and isinstance(cache, transformers.DynamicCache) and cache.get_seq_length() == ids.shape[1]:
            cache.crop(-1)
            with recorder.phase("decode0"):
                model(ids[:, -1:], past_key_values=cache, use_cache=True)
    return sorted(recorder.unseen)
