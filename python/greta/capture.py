"""Records a transformers model of the llama type as a GRETA trace bundle. Needs torch and transformers.

    PYTHONPATH=python python3 -m greta.capture --gguf MODEL.gguf --prompt-file PROMPT.txt --decode --out DIR
    greta diagnose DIR -m MODEL.gguf

From Python: capture() for a whole run, Recorder around forward passes of your own. What is written is what the model
computed, never something computed again: module hooks, and wrappers around the functions of the attention.
"""

import argparse
import contextlib
import datetime
import hashlib
import pathlib
import sys
import warnings

import numpy as np
import torch
import transformers

from .bundle import BundleWriter
from .rope_rows import halves_to_pairs

FORMATS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.float64: "f64"}
LAYER_STAGES = ("x_in attn_norm q k v q_rope k_rope kv_write qk softmax pv attn_out x_attn ffn_norm gate up act down "
                "x_out").split()
STAGES = [*LAYER_STAGES, "final_norm", "logits"]
# Whose GGUF converter reorders the rows of Wq and Wk into adjacent pairs.
ROWS_IN_PAIRS = {"llama", "mistral", "mixtral"}


def describe(model, gguf=None):
    """The manifest's part on the model; with the GGUF's path also its name, size and hash."""
    config = model.config
    heads = config.num_attention_heads
    about = {
        "architecture": config.model_type, "n_layer": config.num_hidden_layers, "n_embd": config.hidden_size,
        "n_head": heads, "n_head_kv": config.num_key_value_heads, "head_dim": head_dim_of(config),
        "n_ff": config.intermediate_size, "n_vocab": config.vocab_size}
    if gguf is not None:
        with open(gguf, "rb") as file:
            about["hash"] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        about.update(file=pathlib.Path(gguf).name, bytes=pathlib.Path(gguf).stat().st_size)
    return about


def head_dim_of(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def to_rows(tensor):
    """[1, S, n] -> f32 [S, n], a copy. ValueError for a batch of several."""
    if tensor.shape[0] != 1:
        raise ValueError(f"a batch of {tensor.shape[0]}: record one sequence at a time")
    return tensor.detach().to("cpu", torch.float32).numpy()[0].copy()


class Recorder:
    """Records forward passes of `model` into the new directory `out`:

        with Recorder(model, "out", prompt_id="p", tokens=ids) as recorder:
            with recorder.phase("prefill", range(len(ids))):
                model(torch.tensor([ids]), use_cache=True)

    layers: those to record (default all); stages: the same for STAGES. rope_rows: the order of the GGUF's rows of Wq
    and Wk, "pairs" or "halves" (default: by the model's type); q, k, q_rope, k_rope and the keys of kv_write are
    written in that order. manifest: more fields for it. FileExistsError if `out` is there.
    """

    def __init__(self, model, out, *, prompt_id="prompt", tokens=(), text=None, gguf=None, layers=None, stages=None,
                 rope_rows=None, manifest=None):
        config = model.config
        if config._attn_implementation != "eager":
            raise ValueError('attention must be eager to be seen: from_pretrained(..., attn_implementation="eager")')
        self._model, self._prompt_id = model, prompt_id
        self._layers = range(config.num_hidden_layers) if layers is None else sorted(layers)
        self._stages = set(STAGES if stages is None else stages)
        if unknown := self._stages - set(STAGES):
            raise ValueError(f"no such stage: {', '.join(sorted(unknown))} (there are: {', '.join(STAGES)})")
        if bad := [layer for layer in self._layers if not 0 <= layer < config.num_hidden_layers]:
            raise ValueError(f"no layer {bad[0]}: the model has 0 to {config.num_hidden_layers - 1}")
        in_pairs = config.model_type in ROWS_IN_PAIRS if rope_rows is None else rope_rows == "pairs"
        self._head_dim = head_dim_of(config) if in_pairs else None
        self._phase, self._positions, self._seen, self._layer = None, [], set(), None
        self._launches = {}
        self._undo = contextlib.ExitStack()
        prompt = {"id": prompt_id, "tokens": [int(t) for t in tokens]}
        if text is not None:
            prompt["text"] = text
        self._writer = BundleWriter(out, {
            "engine": "transformers", "version": transformers.__version__, "model": describe(model, gguf),
            "device": str(model.device), "threads": torch.get_num_threads(), "kv_format": FORMATS[model.dtype],
            "options": {"torch": torch.__version__, "attention": "eager"}, "prompts": [prompt],
            "experiments": [{"name": "E0"}], "kernels": {}, "aligned": True,
            "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), **(manifest or {})})

    def __enter__(self):
        try:
            self._watch()
        except AttributeError as error:
            self.__exit__(AttributeError, error, None)
            raise ValueError(f"{type(self._model).__name__} is not built like llama: {error}") from error
        return self

    def __exit__(self, kind, error, trace):
        self._undo.close()
        self._writer.close(complete=kind is None)

    @contextlib.contextmanager
    def phase(self, name, positions):
        """One forward pass over `positions` (consecutive) as phase `name`. Of `prefill`, the last row is written as
        `prefill_last` too. Warns of stages that did not show: a model that is built otherwise."""
        self._phase, self._positions, self._seen = name, list(positions), set()
        try:
            yield
        finally:
            self._phase = None
        self._writer.flush()
        expected = {(layer, stage) for layer in self._layers for stage in LAYER_STAGES} | {(-1, s) for s in STAGES[-2:]}
        missing = sorted(at for at in expected - self._seen if at[1] in self._stages)
        if missing:
            layer, stage = missing[0]
            warnings.warn(f"{name}: {len(missing)} stages not seen, such as {stage} of layer {layer}")

    # What is watched.

    def _watch(self):
        decoder = self._model.model
        for index in self._layers:
            self._watch_layer(index, decoder.layers[index])
        self._after(decoder.norm, "final_norm", -1)
        self._after(self._model.lm_head, "logits", -1)
        functions = sys.modules[type(decoder.layers[0].self_attn).__module__]
        self._replace(functions, "apply_rotary_pos_emb", self._watched_rope(functions.apply_rotary_pos_emb))
        eager = functions.eager_attention_forward
        self._replace(functions, "eager_attention_forward", self._watched_attention(eager))

    def _watch_layer(self, index, layer):
        attention, mlp = layer.self_attn, layer.mlp
        self._before(layer, "x_in", index)
        self._after(layer.input_layernorm, "attn_norm", index)
        self._undo.callback(attention.register_forward_pre_hook(lambda *_: self._enter_attention(index)).remove)
        self._undo.callback(attention.register_forward_hook(lambda *_: self._enter_attention(None)).remove)
        for stage in "qkv":
            self._after(getattr(attention, stage + "_proj"), stage, index)
        self._before(attention.o_proj, "pv", index)
        self._after(attention.o_proj, "attn_out", index)
        self._before(layer.post_attention_layernorm, "x_attn", index)
        self._after(layer.post_attention_layernorm, "ffn_norm", index)
        self._after(mlp.gate_proj, "gate", index)
        self._after(mlp.up_proj, "up", index)
        self._before(mlp.down_proj, "act", index)
        self._after(mlp.down_proj, "down", index)
        self._after(layer, "x_out", index)

    def _before(self, module, stage, layer):
        def hook(_, args, kwargs):
            self._record(stage, layer, args[0] if args else kwargs["hidden_states"])

        self._undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _after(self, module, stage, layer):
        def hook(_, args, out):
            self._record(stage, layer, out[0] if isinstance(out, tuple) else out)

        self._undo.callback(module.register_forward_hook(hook).remove)

    def _replace(self, owner, name, function):
        self._undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, function)

    def _enter_attention(self, layer):
        self._layer = layer

    def _watched_rope(self, rope):
        def watched(q, k, *args, **kwargs):
            rotated = rope(q, k, *args, **kwargs)
            for stage, heads in zip(("q_rope", "k_rope"), rotated):  # [1, heads, S, head_dim]
                self._record(stage, self._layer, heads.transpose(1, 2).flatten(2))
            return rotated

        return watched

    def _watched_attention(self, attention):
        def watched(module, query, key, value, *args, **kwargs):
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
            self._record("softmax", self._layer, shares.transpose(1, 2))
            return out, shares

        return watched

    # What is written.

    def _record(self, stage, layer, tensor):
        if self._phase is None or layer is None or stage not in self._stages:
            return
        values = to_rows(tensor)
        if self._head_dim is not None:
            values = self._in_gguf_order(stage, values)
        kernel = "torch." + str(tensor.dtype).removeprefix("torch.")
        dtype = FORMATS[tensor.dtype]
        self._writer.manifest["kernels"][kernel] = {
            "activation": dtype, "accumulator": "f64" if dtype == "f64" else "f32", "output": dtype}
        self._seen.add((layer, stage))
        self._launches[stage, layer] = self._launches.get((stage, layer), 0) + 1
        fields = {"prompt_id": self._prompt_id, "layer": layer, "stage": stage, "dtype": dtype, "kernel": kernel,
                  "launches": self._launches[stage, layer]}
        last = self._positions[-1]
        first = last + 1 - len(values)  # kv_write has the history's rows too, logits may have the last only
        self._writer.add(values, phase=self._phase, positions=(first, last), **fields)
        if self._phase == "prefill":
            if stage != "kv_write":
                values, first = values[-1:], last
            self._writer.add(values, phase="prefill_last", positions=(first, last), **fields)

    def _in_gguf_order(self, stage, values):
        if stage in ("q", "k", "q_rope", "k_rope"):
            return halves_to_pairs(values, self._head_dim)
        if stage == "kv_write":
            keys, rest = np.split(values, 2, axis=-1)
            return np.concatenate((halves_to_pairs(keys, self._head_dim), rest), -1)
        return values


@torch.no_grad()
def capture(model, tokens, out, *, decode=True, **options):
    """Records the prefill of `tokens` and, with decode, `decode0`: the last token fed again at its own position against
    the cache of those before it. The options are Recorder's."""
    tokens = [int(t) for t in tokens]
    ids = torch.tensor([tokens], device=model.device)
    cache = transformers.DynamicCache(config=model.config)
    with Recorder(model, out, tokens=tokens, **options) as recorder:
        with recorder.phase("prefill", range(len(tokens))):
            model(ids, past_key_values=cache, use_cache=True)
        if decode:
            cache.crop(-1)
            last = len(tokens) - 1
            with recorder.phase("decode0", [last]):
                model(ids[:, -1:], past_key_values=cache, use_cache=True, position_ids=torch.tensor([[last]]).to(ids))


def parse_layers(text):
    """all -> None, 0-3 -> [0, 1, 2, 3], 0,5 -> [0, 5]."""
    if text == "all":
        return None
    spans = [[int(n) for n in part.split("-")] for part in text.split(",")]
    return [layer for span in spans for layer in range(span[0], span[-1] + 1)]


def tokenize(gguf, text):
    """Ids of the text, special tokens parsed, by transformers' reading of the GGUF's own tokenizer."""
    path = pathlib.Path(gguf)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    return tokenizer(text)["input_ids"]


def main():
    parser = argparse.ArgumentParser(prog="python3 -m greta.capture", description=__doc__.split("\n")[0])
    parser.add_argument("--gguf", required=True, help="the model, of llama architecture; run in f32")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt-file", help="a text; its name is the prompt's id")
    prompt.add_argument("--tokens", help="token ids: 1,2,3")
    parser.add_argument("--out", required=True, help="directory to create")
    parser.add_argument("--layers", default="all", help="all, 0-3 or 0,5,29")
    parser.add_argument("--decode", action="store_true", help="record decode0 too")
    args = parser.parse_args()
    from .gguf_llama import load_llama

    try:
        if args.tokens is not None:
            text, tokens, prompt_id = None, [int(t) for t in args.tokens.split(",")], "tokens"
        else:
            file = pathlib.Path(args.prompt_file)
            text, prompt_id = file.read_text(encoding="utf-8"), file.stem
            tokens = tokenize(args.gguf, text)
        capture(load_llama(args.gguf), tokens, args.out, decode=args.decode, text=text, prompt_id=prompt_id,
                gguf=args.gguf, layers=parse_layers(args.layers), manifest={"command_line": " ".join(sys.argv)})
    except (OSError, ValueError) as error:
        sys.exit(f"greta.capture: {error}")


if __name__ == "__main__":
    main()
