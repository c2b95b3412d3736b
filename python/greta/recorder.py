"""Hooks that record forward passes of a transformers model. Needs torch and transformers.

What is written is what the model computed, never something computed again: module hooks, and wrappers around the
functions of the attention.
"""

import contextlib
import datetime
import sys
import warnings

import numpy as np
import torch
import transformers

from .bundle import BundleWriter
from .layouts import STAGES, demand_layout, layout_of
from .model_shape import describe, of_config
from .rope_rows import halves_to_pairs
from .slots import PADDING, Slots, nested, sequences_of, to_positions

FORMATS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.float64: "f64"}
ATTENTIONS = {"eager": True, "sdpa": False}  # whether its scores and their softmax can be seen
OUTSIDE = ("final_norm", "logits")


def head_dim_of(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def prompts_of(prompt_id, tokens, text):
    """The manifest's prompts: one, or for a batch (a list of lists of ids) ID.0, ID.1, ..."""
    sequences, batch = nested(tokens)
    prompts = [{"id": f"{prompt_id}.{at}" if batch else prompt_id, "tokens": one} for at, one in enumerate(sequences)]
    for prompt, its in zip(prompts, [] if text is None else text if batch else [text]):
        prompt["text"] = its
    return prompts


class Watched:
    """In the place of a module's ALL_ATTENTION_FUNCTIONS: the function that is asked for, wrapped."""

    def __init__(self, functions, wrap):
        self._functions, self._wrap = functions, wrap

    def get_interface(self, *args):
        return self._wrap(self._functions.get_interface(*args))


class Recorder:
    """Records forward passes of `model` into the new directory `out`:

        with Recorder(model, "out", prompt_id="p", tokens=ids) as recorder:
            with recorder.phase("prefill", range(len(ids))):
                model(torch.tensor([ids]), use_cache=True)

    tokens: the prompt's ids, or a list of them for each sequence of a batch: the bundle then has the prompts p.0, p.1,
    ... layers: those to record (default all); stages: the same for STAGES. layout: a type of layouts.TYPES that the
    model is built like (default: its own). rope_rows: the order of the GGUF's rows of Wq and Wk, "pairs" or "halves"
    (default: by the layout); q, k, q_rope, k_rope and the keys of kv_write are written in that order. manifest: more
    fields for it. FileExistsError if `out` is there; ValueError for a model that is not known.
    """

    def __init__(self, model, out, *, prompt_id="prompt", tokens=(), text=None, gguf=None, layers=None, stages=None,
                 layout=None, rope_rows=None, manifest=None):
        config = model.config.get_text_config()
        self._attention = config._attn_implementation
        if self._attention not in ATTENTIONS:
            raise ValueError(f'attention "{self._attention}" is not known: from_pretrained(..., attn_implementation='
                             '"eager") shows all stages, "sdpa" all but qk and softmax')
        self._layout = layout_of(config.model_type, layout)
        self._model, self._decoder, self._prompts = model, model.get_decoder(), prompts_of(prompt_id, tokens, text)
        self._layers = range(config.num_hidden_layers) if layers is None else sorted(layers)
        self._stages = set(STAGES if stages is None else stages)
        if unknown := self._stages - set(STAGES):
            raise ValueError(f"no such stage: {', '.join(sorted(unknown))} (there are: {', '.join(STAGES)})")
        if bad := [layer for layer in self._layers if not 0 <= layer < config.num_hidden_layers]:
            raise ValueError(f"no layer {bad[0]}: the model has 0 to {config.num_hidden_layers - 1}")
        for index in self._layers:
            demand_layout(self._decoder.layers[index], index, self._layout)
        self._functions = sys.modules[type(self._decoder.layers[0].self_attn).__module__]
        for name in ("apply_rotary_pos_emb", "eager_attention_forward", "ALL_ATTENTION_FUNCTIONS"):
            if not hasattr(self._functions, name):
                raise ValueError(f"{self._functions.__name__} has no {name}: its attention cannot be seen")
        self._width = config.num_attention_heads * head_dim_of(config), config.num_key_value_heads * head_dim_of(config)
        self._head_dim = head_dim_of(config) if (rope_rows or self._layout.rope_rows) == "pairs" else None
        self._phase, self._rows, self._seen, self._layer = None, [], set(), None
        self._slots, self._is_fed, self._cache_rows = Slots(), False, {}
        self._launches = {}
        self._undo = contextlib.ExitStack()
        self._writer = BundleWriter(out, {
            "engine": "transformers", "version": transformers.__version__,
            "model": describe(of_config(config.to_dict()), gguf),
            "device": str(model.device), "threads": torch.get_num_threads(), "kv_format": FORMATS[model.dtype],
            "options": {"torch": torch.__version__, "attention": self._attention}, "prompts": self._prompts,
            "experiments": [{"name": "E0"}], "kernels": {}, "aligned": True,
            "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), **(manifest or {})})

    def __enter__(self):
        self._watch()
        return self

    def __exit__(self, kind, error, trace):
        self._undo.close()
        self._writer.close(complete=kind is None)

    @contextlib.contextmanager
    def phase(self, name, positions):
        """One forward pass as phase `name`. positions: of its rows, which follow each other; of a batch a list for
        each sequence, -1 where a row is padding. Of `prefill`, the last row is written as `prefill_last` too. Warns of
        stages that did not show."""
        rows = sequences_of(positions)
        if len(rows) != len(self._prompts):
            raise ValueError(f"positions of {len(rows)} sequences for {len(self._prompts)} prompts")
        self._phase, self._rows, self._is_fed, self._seen = name, rows, False, set()
        try:
            yield
        finally:
            self._phase = None
        self._writer.flush()
        missing = sorted(at for at in self._expected() - self._seen if at[1] in self._stages)
        if missing:
            layer, stage = missing[0]
            warnings.warn(f"{name}: {len(missing)} stages not seen, such as {stage} of layer {layer}")

    def _expected(self):
        expected = {(-1, stage) for stage in OUTSIDE}
        for index in self._layers:
            rotates = bool(getattr(self._decoder.layers[index].self_attn, "use_rope", True))
            expected |= {(index, stage) for stage in self._layout.stages(rotates, ATTENTIONS[self._attention])}
        return expected

    # What is watched.

    def _watch(self):
        for index in self._layers:
            self._watch_layer(index, self._decoder.layers[index])
        self._after(self._decoder.norm, "final_norm", -1)
        self._undo.callback(self._model.register_forward_hook(self._see_logits).remove)
        functions = self._functions
        self._replace(functions, "apply_rotary_pos_emb", self._watched_rope(functions.apply_rotary_pos_emb))
        self._replace(functions, "ALL_ATTENTION_FUNCTIONS",
                      Watched(functions.ALL_ATTENTION_FUNCTIONS, self._watched_attention))

    def _watch_layer(self, index, layer):
        attention, whole = layer.self_attn, layer.mlp
        if self._layout.experts:
            self._watch_experts(index, whole)
        dense = getattr(whole, "shared_expert", None) if self._layout.experts else whole
        self._before(layer, "x_in", index)
        for name, stage in self._layout.norms.items():
            self._after(getattr(layer, name), stage, index)
        for name, stage in self._layout.head_norms.items():
            self._after(getattr(attention, name), stage, index, self._layout.heads_first)
        enter = attention.register_forward_pre_hook(
            lambda _, args, kwargs: self._enter_attention(index, kwargs), with_kwargs=True)
        self._undo.callback(enter.remove)
        self._undo.callback(attention.register_forward_hook(lambda *_: self._leave_attention()).remove)
        if self._layout.fused:
            heads, kv_heads = self._width
            self._split(attention.qkv_proj, ("q", "k", "v"), (heads, kv_heads, kv_heads), index)
            half = dense.gate_up_proj.out_features // 2
            self._split(dense.gate_up_proj, ("gate", "up"), (half, half), index)
        else:
            for stage in "qkv":
                self._after(getattr(attention, stage + "_proj"), stage, index)
        self._before(attention.o_proj, "pv", index)
        self._after(attention.o_proj, "attn_out", index)
        ffn_norm = next((name for name, stage in self._layout.norms.items() if stage == "ffn_norm"), None)
        self._before(whole if ffn_norm is None else getattr(layer, ffn_norm), "x_attn", index)
        if dense is not None:
            if not self._layout.fused:
                self._after(dense.gate_proj, "gate", index)
                self._after(dense.up_proj, "up", index)
            self._before(dense.down_proj, "act", index)
            self._after(dense.down_proj, "down", index)
        self._after(layer, "x_out", index)

    def _watch_experts(self, index, mlp):
        def router(_, args, out):
            scores, weights, numbers = out
            for stage, value in (("router", scores), ("experts", numbers.float()), ("expert_weights", weights)):
                self._record(stage, index, value)

        self._undo.callback(mlp.gate.register_forward_hook(router).remove)
        self._after(mlp.experts, "experts_out", index)
        if self._layout.shared:
            self._after(mlp.shared_expert_gate, "shared_gate", index)
            self._after(mlp, "ffn_out", index)

    def _before(self, module, stage, layer):
        def hook(_, args, kwargs):
            self._record(stage, layer, args[0] if args else kwargs["hidden_states"])

        self._undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _after(self, module, stage, layer, heads_first=False):
        def hook(_, args, out):
            rows = out[0] if isinstance(out, tuple) else out
            self._record(stage, layer, rows.transpose(1, 2) if heads_first else rows)

        self._undo.callback(module.register_forward_hook(hook).remove)

    def _split(self, module, stages, widths, layer):
        def hook(_, args, out):
            for stage, part in zip(stages, out.split(widths, dim=-1)):
                self._record(stage, layer, part)

        self._undo.callback(module.register_forward_hook(hook).remove)

    def _replace(self, owner, name, function):
        self._undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, function)

    def _see_logits(self, _, args, out):
        # The model's output, not lm_head's: some types scale it.
        self._record("logits", -1, out[0] if isinstance(out, tuple) else out.logits)

    def _enter_attention(self, layer, kwargs):
        if self._phase is None:
            return
        self._layer = layer
        if not self._is_fed:
            cache = kwargs.get("cache", kwargs.get("past_key_values"))
            self._slots.feed(self._rows, 0 if cache is None else int(cache.get_seq_length(layer)))
            self._is_fed = True
            if self._phase == "decode0" and isinstance(cache, transformers.DynamicCache):
                # It appends: the row of this step is new memory, whatever was cropped before.
                self._writer.manifest["decode0_row"] = "freed"

    def _leave_attention(self):
        self._layer = None

    def _watched_rope(self, rope):
        def watched(q, k, *args, **kwargs):
            rotated = rope(q, k, *args, **kwargs)
            for stage, heads in zip(("q_rope", "k_rope"), rotated):  # [B, heads, S, head_dim]
                self._record(stage, self._layer, heads.transpose(1, 2))
            return rotated

        return watched

    def _watched_attention(self, attention):
        def watched(module, query, key, value, *args, **kwargs):
            if self._layer is None:
                return attention(module, query, key, value, *args, **kwargs)
            keys, values = (heads.transpose(1, 2).flatten(2) for heads in (key, value))
            self._record("kv_write", self._layer, torch.cat((keys, values), -1))
            softmax = torch.nn.functional.softmax

            def watched_softmax(scores, *args, **kwargs):
                # A mask is the most negative number, added: to GRETA, what is masked is -inf.
                masked = scores <= torch.finfo(scores.dtype).min / 2
                self._record("qk", self._layer, scores.masked_fill(masked, -torch.inf).transpose(1, 2))
                return softmax(scores, *args, **kwargs)

            torch.nn.functional.softmax = watched_softmax
            try:
                out, shares = attention(module, query, key, value, *args, **kwargs)
            finally:
                torch.nn.functional.softmax = softmax
            if shares is not None:
                self._record("softmax", self._layer, shares.transpose(1, 2))
            return out, shares

        return watched

    # What is written.

    def _record(self, stage, layer, tensor):
        if self._phase is None or layer is None or stage not in self._stages:
            return
        if tensor.ndim == 2:  # of a mixture of experts: the rows of all sequences, one after the other
            tensor = tensor.reshape(len(self._rows), -1, tensor.shape[-1])
        if tensor.shape[0] != len(self._rows):
            raise ValueError(f"a batch of {tensor.shape[0]}, and tokens and positions of {len(self._rows)}")
        kernel = "torch." + str(tensor.dtype).removeprefix("torch.")
        dtype = FORMATS[tensor.dtype]
        self._writer.manifest["kernels"][kernel] = {
            "activation": dtype, "accumulator": "f64" if dtype == "f64" else "f32", "output": dtype}
        self._seen.add((layer, stage))
        self._launches[stage, layer] = self._launches.get((stage, layer), 0) + 1
        fields = {"layer": layer, "stage": stage, "dtype": dtype, "kernel": kernel,
                  "launches": self._launches[stage, layer]}
        values = tensor.detach().to("cpu", torch.float32).numpy().copy()  # [B, S, ...]
        for at, prompt in enumerate(self._prompts):
            self._write(stage, at, self._in_gguf_order(stage, values[at]), {"prompt_id": prompt["id"], **fields})

    def _write(self, stage, sequence, values, fields):
        """One sequence's values: without its padding, cache slots put to their positions."""
        if stage == "kv_write":
            values, positions = self._cache_of(sequence, fields["layer"], values)
        else:
            rows = self._rows[sequence][-len(values):]  # logits may have the last only
            kept = [row for row, position in enumerate(rows) if position != PADDING]
            positions = [rows[row] for row in kept]
            values = values[kept]
            if stage in ("qk", "softmax"):
                columns = self._slots.columns(sequence, values.shape[-1])
                values = to_positions(values, columns, -np.inf if stage == "qk" else 0)
            else:
                values = values.reshape(len(kept), -1)
        if not positions:
            return
        self._writer.add(values, phase=self._phase, positions=(positions[0], positions[-1]), **fields)
        if self._phase == "prefill":
            if stage != "kv_write":
                values, positions = values[-1:], positions[-1:]
            self._writer.add(values, phase="prefill_last", positions=(positions[0], positions[-1]), **fields)

    def _cache_of(self, sequence, layer, slots):
        """The layer's rows by position. What a window has dropped stays as it was when it was last seen; a row that
        never was ends the list."""
        columns = self._slots.columns(sequence, len(slots))
        there = {position: slots[column] for position, column in columns.items()}
        before = self._cache_rows.get((sequence, layer), {})
        positions = [last := max(there)]
        while (last := last - 1) >= 0 and (last in there or last in before):
            positions.insert(0, last)
        rows = {position: there.get(position, before.get(position)) for position in positions}
        self._cache_rows[sequence, layer] = rows
        return np.stack(list(rows.values())), positions

    def _in_gguf_order(self, stage, values):
        if self._head_dim is None:
            return values
        if stage in ("q", "k", "q_rope", "k_rope"):
            return halves_to_pairs(values, self._head_dim)
        if stage == "kv_write":
            keys, rest = np.split(values, 2, axis=-1)
            return np.concatenate((halves_to_pairs(keys, self._head_dim), rest), -1)
        return values
