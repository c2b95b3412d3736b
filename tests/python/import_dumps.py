"""Writes the formats of the importers as documented, from a run of serving_model.py. Needs torch, safetensors."""

import datetime
import inspect
import json
import math

import numpy as np
import torch
from safetensors.torch import save_file

MIXED = ("qkv_proj", "gate_up_proj")  # parts of one product, which each rank has a share of
SPLIT = ("q_norm", "k_norm", "rotary_emb", "attn", "act_fn")
SUMMED = ("o_proj", "down_proj")


class Watcher:
    """Inputs and outputs of all modules in one pass: (module, "inputs" or "output", tensors), in order."""

    def __init__(self, model):
        self.calls = []
        for name, module in model.named_modules():
            if name:
                module.register_forward_pre_hook(lambda _, args, name=name: self._keep(name, "inputs", args))
                module.register_forward_hook(lambda _, args, out, name=name: self._keep(name, "output", out))

    def _keep(self, name, kind, values):
        values = values if isinstance(values, tuple) else (values,)
        self.calls.append((name, kind, [value.clone() for value in values if isinstance(value, torch.Tensor)]))

    def take(self):
        calls, self.calls = self.calls, []
        return calls


def share_of(name, tensor, rank, ranks, config):
    """What rank `rank` of `ranks` has of a module's output. A kv head is shared where there are fewer than ranks."""
    own = name.split(".")[-1]
    if ranks == 1 or own not in MIXED + SPLIT + SUMMED:
        return tensor
    if own in SUMMED:  # before the sum over ranks: parts of it
        part = torch.zeros_like(tensor)
        part[:, rank::ranks] = tensor[:, rank::ranks]
        return tensor if own == "o_proj" else part
    head_dim = config.head_dim
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads

    def of_heads(rows, count):
        rows = rows.reshape(len(rows) * rows.shape[-1] // (count * head_dim), count, head_dim)
        each = max(1, count // ranks)
        first = rank * count // ranks
        return rows[:, first:first + each].reshape(-1, each * head_dim)

    if own == "qkv_proj":
        q, k, v = tensor.split([heads * head_dim, kv_heads * head_dim, kv_heads * head_dim], -1)
        return torch.cat((of_heads(q, heads), of_heads(k, kv_heads), of_heads(v, kv_heads)), -1)
    if own == "gate_up_proj":
        return torch.cat([half.chunk(ranks, -1)[rank] for half in tensor.chunk(2, -1)], -1)
    if own == "act_fn":
        return tensor.chunk(ranks, -1)[rank]
    if own in ("q_norm", "k_norm"):  # a row for each head
        count = heads if own == "q_norm" else kv_heads
        return of_heads(tensor.reshape(-1, count * head_dim), count).reshape(-1, head_dim)
    assert own == "attn", own
    return of_heads(tensor, heads)


def sglang_hooks(folder, model, passes, watcher, ranks=1):
    """--debug-tensor-dump-output-folder: leaves' outputs, and `model`'s, which with the logits come a file later."""
    current = [{} for _ in range(ranks)]
    leaves = {name for name, module in model.named_modules() if not list(module.children())} | {"model"}
    shared = {name for name in leaves if name.endswith("rotary_emb")}
    config, number = model.config, 0
    folders = [folder / f"TP{rank}_PP0_Rank{rank}_pid{100 + rank}" for rank in range(ranks)]
    for own in folders:
        own.mkdir(parents=True)
    for ids, positions, batch, _ in passes:
        for name, kind, tensors in watcher.take():
            if kind != "output" or name not in leaves:
                continue
            for rank in range(ranks):
                if name == "model":  # ends a pass
                    for key, value in (("input_ids", ids), ("seq_lens", batch.seq_lens), ("positions", positions)):
                        current[rank][f"model.forward_batch_info.{key}"] = value
                    torch.save(current[rank], folders[rank] / f"Pass{number:05}.pt")
                    current[rank] = {}
                if name.endswith("rotary_emb"):  # heads of both, one by one
                    heads = (config.num_attention_heads, config.num_key_value_heads)
                    parts = [rows.reshape(len(rows), count, -1)[:, rank * count // ranks:][:, :max(1, count // ranks)]
                             for rows, count in zip(tensors, heads)]
                    for one in shared:  # one module for all layers
                        current[rank][one] = [part.reshape(len(part), -1) for part in parts]
                    continue
                parts = [share_of(name, tensor, rank, ranks, config) for tensor in tensors]
                current[rank][name] = parts[0] if len(parts) == 1 else parts
            number += name == "model"


def sglang_dumper(folder, model, passes, watcher):
    """DUMPER_ENABLE=1 DUMPER_NON_INTRUSIVE_MODE=all."""
    own = folder / "dump_20261127_000000_000000"
    own.mkdir(parents=True)
    index = 0
    for step, (ids, positions, batch, _) in enumerate(passes):
        core = [("input_ids", ids), ("positions", positions), ("seq_lens", batch.seq_lens)]
        hooked = []
        for name, kind, tensors in watcher.take():
            for at, tensor in enumerate(tensors):
                many = len(tensors) > 1 or kind == "inputs"
                key = f"non_intrusive__{name}.{kind}" + (f".{at}" if many else "")
                if name == "logits_processor" and kind == "output":
                    key += ".next_token_logits"
                hooked.append((key, tensor))
        for name, value in core + hooked:
            index += 1
            tags = {"step": step, "rank": 0, "dump_index": index, "name": name, "recompute_status": "disabled"}
            file = "___".join(f"{key}={what}" for key, what in tags.items()) + ".pt"
            torch.save({"value": value, "meta": {**tags, "world_rank": 0, "world_size": 1}}, own / file)


def vllm(folder, model, passes, watcher, ranks=1):
    """What greta.vllm_plugin writes."""
    number = 0
    for ids, positions, batch, _ in passes:
        calls = watcher.take()
        for rank in range(ranks):
            tensors = {}
            for name, kind, values in calls:
                if name.endswith("rotary_emb"):
                    continue
                if kind == "inputs" and not name.endswith(("layernorm", ".attn")):
                    continue
                for at, value in enumerate(values):
                    if kind == "inputs" and name.endswith(".attn"):
                        count = model.config.num_attention_heads if at == 0 else model.config.num_key_value_heads
                        value = value.reshape(len(value), count, -1)[:, rank * count // ranks:]
                        value = value[:, :max(1, count // ranks)].reshape(len(value), -1)
                    else:
                        value = share_of(name, value, rank, ranks, model.config)
                    tensors[f"{name}{'.inputs' if kind == 'inputs' else ''}/{at}"] = value.contiguous()
            core = {"rows": len(ids), "input_ids": ids.tolist(), "positions": positions.tolist(),
                    "requests": [(f"request-{request}", end - begin) for request, begin, end in batch.rows]}
            own = folder / f"tp{rank}-pp0"
            own.mkdir(parents=True, exist_ok=True)
            save_file(tensors, own / f"pass{number:05}.safetensors", metadata={"greta": json.dumps(core)})
        number += 1


def npy(folder, passes, watcher, row):
    """A tree of a team's own: request 0's rows of some stages, prefill and steps; matrices transposed."""
    folder.mkdir(parents=True)
    for step, (ids, positions, batch, _) in enumerate(passes):
        if row not in [request for request, _, _ in batch.rows]:
            continue
        begin, end = next((begin, end) for request, begin, end in batch.rows if request == row)
        phase = "prompt" if step == 0 else f"step{step - 1}"
        for name, kind, tensors in watcher.take():
            parts = name.split(".")
            if kind == "output" and parts[-1] in ("gate_up_proj", "act_fn", "down_proj"):
                rows = tensors[0][begin:end].float().numpy()
                for part, values in zip(("gate", "up") if parts[-1] == "gate_up_proj" else (parts[-1],),
                                        np.split(rows, 2, 1) if parts[-1] == "gate_up_proj" else (rows,)):
                    np.save(folder / f"{phase}.layer{parts[2]}.{part}.npy", values.T)


# FlashInfer

def signature_of(function):
    return str(inspect.signature(function))


def flashinfer_call(folder, name, number, function, arguments, keywords, result, owner=None, safetensors=True):
    """One call as FlashInfer's api_logging.py leaves it."""
    call = folder / f"20261127_000000_{number:03}_pid77_{name}_call{number:04}"
    call.mkdir(parents=True)
    tensors, others = {}, {}

    def put(key, value):
        if isinstance(value, torch.Tensor):
            tensors[key] = value
        elif isinstance(value, tuple):
            items = []
            for at, item in enumerate(value):
                tensors[f"{key}__{at}"] = item
                items.append({"type": "torch.Tensor", "shape": list(item.shape), "tensor_key": f"{key}__{at}"})
            others[key] = {"type": "tuple", "length": len(value), "items": items, "truncated": False}
        elif value is None or isinstance(value, (int, float, str, bool)):
            others[key] = value
        else:
            others[key] = {"type": type(value).__name__, "repr": "<an object>"}

    for at, value in enumerate(arguments):
        put(f"arg_{at}", value)
    for key, value in keywords.items():
        put(f"kwarg_{key}", value)
    outputs = {} if result is None else {"result": result}

    def save(kind, values):
        if values and safetensors:
            save_file({key: value.clone(memory_format=torch.contiguous_format) for key, value in values.items()},
                      call / f"{kind}.safetensors")
        elif values:
            torch.save(values, call / f"{kind}.pt")

    save("inputs", tensors)
    save("outputs", outputs)
    about = {"function_name": name, "module": "flashinfer", "call_sequence": number,
             "timestamp": f"{datetime.datetime(2026, 11, 27):%Y%m%d_%H%M%S}_{number:03}", "process_id": 77,
             "input_metadata": others, "output_metadata": {}, "tensor_info": {}, "tensor_details": {},
             "function_signature": signature_of(function), "versions": {"flashinfer": "0.7.2"}, "graph_capture": False}
    if owner is not None:
        about["self_id"] = owner
    lines = [{**about, "execution_status": "inputs_saved"}, {**about, "execution_status": "completed"}]
    (call / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open(folder / "session.jsonl", "a", encoding="utf-8") as session:
        session.write("".join(json.dumps(line) + "\n" for line in lines))


def attention(q, k, v, causal=True, window=-1, softcap=0.0):
    """[rows, heads, d], [n, kv heads, d] twice -> [rows, heads, d]; in f32, rounded to q's format."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1).float() for x in (k, v))
    scores = torch.einsum("shd,nhd->hsn", q.float(), k) / math.sqrt(q.shape[-1])
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    at, key = torch.arange(len(k) - len(q), len(k))[:, None], torch.arange(len(k))[None]
    hidden = (key > at) & causal | (key < at - window) & (window >= 0)
    return torch.einsum("hsn,nhd->shd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v).to(q.dtype)
