"""What the modules of a serving engine give, as stages: vLLM and SGLang name them alike. Rows of several requests lie
one after the other; each norm before a block also adds (hidden, residual); q, k, v and gate, up are one product each;
every rank has its heads alone. Needs numpy only."""

import re

import numpy as np

from .layouts import TYPES, layout_of
from .rope_rows import halves_to_pairs

# Module of a layer -> its outputs, each the stages whose rows lie side by side in it.
ATTENTION = {
    "qkv_proj": [("q", "k", "v")], "q_proj": [("q",)], "k_proj": [("k",)], "v_proj": [("v",)],
    "q_norm": [("q_norm",)], "k_norm": [("k_norm",)], "rotary_emb": [("q_rope",), ("k_rope",)],
    "attn": [("pv",)], "o_proj": [("attn_out",)],
}
DENSE = {"gate_up_proj": [("gate", "up")], "gate_proj": [("gate",)], "up_proj": [("up",)], "act_fn": [("act",)],
         "down_proj": [("down",)]}
CHOSEN = {"gate": [("router",)], "topk": [("expert_weights",), ("experts",), ("router",)],
          "experts": [("experts_out",)]}
SHARDED = {"q", "k", "v", "q_norm", "k_norm", "q_rope", "k_rope", "pv", "gate", "up", "act"}
OF_KEYS = {"k", "v", "k_norm", "k_rope"}  # heads that ranks share where there are more ranks
LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)")
# What experts make is judged by which were chosen; without these it is left out, and so is what is made of it.
BY_CHOICE = {"experts_out", "expert_weights", "ffn_out", "x_out"}


def layout_like(model_type):
    """Of a type that is not known, that of a llama without experts, with the norms that it shows."""
    return TYPES[model_type] if model_type in TYPES else layout_of("llama")


class Reader:
    """Passes of one model -> stages. `rope_rows`: as Recorder's."""

    def __init__(self, shape, rope_rows=None):
        self.shape, self.layout = shape, layout_like(shape.model_type)
        self.in_pairs = (rope_rows or self.layout.rope_rows) == "pairs"
        self.embeds_as_is = shape.model_type not in ("gemma2", "gemma3_text", "granite")

    def stages(self, ranks):
        """{(layer, stage): [tokens, width]} of one pass. ranks: of each tensor-parallel rank module -> its outputs in
        order, [tokens, ..] each; a module's inputs under NAME.inputs. ValueError for rows that do not fit the model."""
        each = [self._of_rank(modules) for modules in ranks]
        stages = {at: self._joined(at, [one[at] for one in each]) for at in each[0] if all(at in one for one in each)}
        if self.layout.experts:
            chosen = {layer for layer, stage in stages if stage == "experts"}
            stages = {(layer, stage): rows for (layer, stage), rows in stages.items()
                      if stage not in BY_CHOICE or layer in chosen}
        if not self.in_pairs:
            return stages
        turned = ("q", "k", "q_rope", "k_rope")
        return {at: halves_to_pairs(rows, self.shape.head_dim) if at[1] in turned else rows
                for at, rows in stages.items()}

    def formats(self, modules):
        """(layer, stage) -> format of one rank's, given as the outputs are."""
        found = {}

        def put(layer, stages, held):
            found.update({(layer, stage): held for stage in stages})

        self._walk(modules, put)
        return found

    def _of_rank(self, modules):
        tokens = self._tokens(modules)
        found = {}

        def put(layer, stages, rows):
            rows = np.asarray(rows, dtype=np.float32)
            if rows.size % tokens != 0:
                raise ValueError(f"{stages[0]} of layer {layer} has {rows.size} values for {tokens} rows")
            rows = rows.reshape(tokens, -1)  # heads of a norm may lie one by one
            for stage, part in zip(stages, [rows] if len(stages) == 1 else self._cut(stages, rows)):
                found[layer, stage] = part

        self._walk(modules, put)
        return found

    def _walk(self, modules, put):
        for name, outputs in modules.items():
            if name == "model.embed_tokens":
                if self.embeds_as_is:
                    put(0, ("x_in",), outputs[0])
            elif name == "model.norm":
                put(-1, ("final_norm",), outputs[0])
                if len(outputs) > 1:
                    put(self.shape.n_layer - 1, ("x_out",), outputs[1])
            elif match := LAYER.fullmatch(name):
                self._layer_module(int(match[1]), match[2], outputs, put)

    def _layer_module(self, layer, name, outputs, put):
        inputs = name.endswith(".inputs")
        block, _, own = name.removesuffix(".inputs").partition(".")
        if not own:
            stage = self.layout.norms.get(block)
            stream = {"attn_norm": "x_in", "ffn_norm": "x_attn"}.get(stage)
            if stage is None or (inputs and (stream is None or len(outputs) > 1)):
                return  # of two summands neither is the stream
            if inputs:
                return put(layer, (stream,), outputs[0])
            put(layer, (stage,), outputs[0])
            if len(outputs) > 1 and stream is not None:
                put(layer, (stream,), outputs[1])
                if stream == "x_in" and layer > 0:
                    put(layer - 1, ("x_out",), outputs[1])
            return
        if inputs:
            if (block, own) == ("self_attn", "attn") and layer not in self.shape.unrotated:
                for stage, rows in zip(("q_rope", "k_rope"), outputs):
                    put(layer, (stage,), rows)
            return
        table = ATTENTION if block == "self_attn" else {} if block not in ("mlp", "block_sparse_moe") else (
            CHOSEN if self.layout.experts else DENSE)
        for stages, rows in zip(table.get(own, []), outputs):
            put(layer, stages, rows)

    def _tokens(self, modules):
        for name, outputs in modules.items():
            match = LAYER.fullmatch(name)
            if match and match[2] in self.layout.norms:
                return len(outputs[0])
        raise ValueError("no norm of a layer is there, so the number of rows is not known")

    def _cut(self, stages, rows):
        """A fused product's row: of this rank q's heads and as many of k and of v, or two halves."""
        width = rows.shape[1]
        if len(stages) == 2:
            return np.split(rows, 2, axis=1)
        heads = width // self.shape.head_dim
        group = self.shape.n_head // self.shape.n_head_kv
        kv = max(1, heads // (group + 2))  # of more ranks than kv heads each has one
        if heads * self.shape.head_dim != width or heads <= 2 * kv:
            raise ValueError(f"rows of {width} values are no heads of q, k and v of {self.shape.head_dim} each")
        cut = (heads - 2 * kv) * self.shape.head_dim
        return np.split(rows, [cut, cut + kv * self.shape.head_dim], axis=1)

    def _joined(self, at, parts):
        """Of all ranks: their heads side by side, what all have alike once, and sums of which each has a part added."""
        stage, full = at[1], self.shape.width(at[1])
        if stage in SHARDED and len(parts) > 1:
            if stage in OF_KEYS and len(parts) > self.shape.n_head_kv:
                parts = parts[::len(parts) // self.shape.n_head_kv]
            rows = np.concatenate(parts, axis=1)
        elif all(np.array_equal(part, parts[0], equal_nan=True) for part in parts[1:]):
            rows = parts[0]
        else:
            rows = np.sum(parts, axis=0, dtype=np.float32)
        if full is not None and rows.shape[1] != full:
            raise ValueError(f"{stage} of layer {at[0]} has {rows.shape[1]} values in a row, and the model has {full}: "
                             "another model, or a rank is missing?")
        return rows


class Requests:
    """Which request each row of a flat batch is of, pass after pass: a row at position p goes on with a request of p
    rows, in the order of the batch."""

    def __init__(self):
        self.lengths, self.tokens, self.known_from = [], [], []
        self.order, self.names = [], {}  # requests of the last pass; those that have names

    def split(self, positions, lengths=None, ids=None, named=None):
        """[(request, first row, end)] of one pass. lengths: what each request has after it, where the dump says so.
        named: (name, rows) of each request, which makes the rest needless."""
        runs, begin = [], 0
        if named is not None:
            return self._split_named(positions, named, ids)
        ends = list(lengths) if lengths is not None else []
        for row, position in enumerate(positions):
            last = row + 1 == len(positions) or positions[row + 1] != position + 1
            if last or (len(runs) < len(ends) and position + 1 == ends[len(runs)]):
                runs.append((begin, row + 1))
                begin = row + 1
        taken, batch = set(), []
        for begin, end in runs:
            request = self._of(int(positions[begin]), taken)
            taken.add(request)
            batch.append((request, begin, end))
            self._extend(request, begin, end, ids)
        self.order = [request for request, _, _ in batch]
        return batch

    def _split_named(self, positions, named, ids):
        batch, begin = [], 0
        for name, count in named:
            if name not in self.names:
                self.names[name] = len(self.lengths)
                self._open(int(positions[begin]))
            batch.append((self.names[name], begin, begin + count))
            self._extend(*batch[-1], ids)
            begin += count
        self.order = [request for request, _, _ in batch]
        return batch

    def _open(self, first):
        self.lengths.append(first)
        self.known_from.append(first)
        self.tokens.append([])

    def _extend(self, request, begin, end, ids):
        self.lengths[request] += end - begin
        if ids is not None:
            self.tokens[request] += [int(token) for token in ids[begin:end]]

    def _of(self, first, taken):
        candidates = [r for r in [*self.order, *range(len(self.lengths))]
                      if r not in taken and first > 0 and self.lengths[r] == first]
        if candidates:
            return candidates[0]
        self._open(first)
        return len(self.lengths) - 1


class FlatRun:
    """Writes passes of flat batches: of each request `prefill` (further chunks: `prefill1`, ...), `decode0`, ...
    The cache is not shown by these engines' modules: `kv_write` is made of the keys and values that attention was
    given, so that a row that is written or read wrongly shows in `pv`."""

    def __init__(self, writer, reader, engine, *, layers=None, steps=None, requests=None):
        self.writer, self.reader, self.engine = writer, reader, engine
        self.layers, self.steps, self.most = layers, steps, requests
        self.requests, self.notes = Requests(), []
        self._keys, self._chunks, self._steps = {}, {}, {}

    def add_pass(self, stages, positions, *, lengths=None, ids=None, named=None, dtypes=None):
        """stages: Reader's. dtypes: (layer, stage) -> the format that the engine holds it in."""
        for request, begin, end in self.requests.split(positions, lengths, ids, named):
            phase = self._phase(request, end - begin)
            own = {at: self._rows_of(rows, request, begin, end, len(positions)) for at, rows in stages.items()}
            self._add_cache_rows(request, int(positions[begin]), own)
            if phase is None or (self.most is not None and request >= self.most):
                continue
            for (layer, stage), rows in own.items():
                if self.layers is not None and layer >= 0 and layer not in self.layers:
                    continue
                last = int(positions[end - 1])
                first = 0 if stage == "kv_write" else last - len(rows) + 1
                held = (dtypes or {}).get((layer, "v" if stage == "kv_write" else stage), "f32")
                self.writer.add(rows, prompt_id=f"r{request}", phase=phase, layer=layer, stage=stage, dtype=held,
                                positions=(first, last), kernel=f"{self.engine}.{stage}")
        self.writer.flush()

    def _phase(self, request, rows):
        """None for a step that is one too many. Rows after the first step are a draft that is verified."""
        is_step = rows == 1 and request in self._chunks
        counts = self._steps if is_step else self._chunks
        number = counts[request] = counts.get(request, -1) + 1
        if is_step:
            return f"decode{number}" if self.steps is None or number < self.steps else None
        if request in self._steps:
            return f"verify{number}"
        return f"prefill{number}" if number else "prefill"

    def _rows_of(self, rows, request, begin, end, count):
        """Its own; logits may be there of each request's last row alone."""
        return rows[begin:end] if len(rows) == count else rows[[self.requests.order.index(request)]]

    def _add_cache_rows(self, request, first, stages):
        """kv_write of each layer whose keys and values are known from position 0."""
        for layer in sorted({layer for layer, stage in stages if stage == "v"}):
            keys = ("k_norm", "k") if layer in self.reader.shape.unrotated else ("k_rope",)
            key = next((stages[layer, stage] for stage in keys if (layer, stage) in stages), None)
            before = self._keys.get((request, layer))
            if key is None or (0 if before is None else len(before)) < first:
                continue
            rows = np.concatenate((key, stages[layer, "v"]), axis=1)
            self._keys[request, layer] = rows if before is None else np.concatenate((before[:first], rows))
            stages[layer, "kv_write"] = self._keys[request, layer]

    def close(self):
        count = len(self.requests.lengths) if self.most is None else min(self.most, len(self.requests.lengths))
        self.writer.manifest["prompts"] = [{"id": f"r{r}", "tokens": self.requests.tokens[r]} for r in range(count)]
        if cached := [r for r in range(count) if self.requests.known_from[r] > 0]:
            self.notes.append(f"request {cached[0]} begins at position {self.requests.known_from[cached[0]]}: what was "
                              "cached before is not in the dump, and its attention is not judged")
