"""How the layers of transformers' llama-like models are built: which module makes which stage. No imports.

A type that is not in TYPES, and a layer with a module more or less than its layout says, is refused: norms of the same
names mean different things in different families.
"""

import dataclasses

STAGES = ("x_in attn_norm q k v q_norm k_norm q_rope k_rope kv_write qk softmax pv attn_out attn_post_norm x_attn "
          "ffn_norm router experts expert_weights experts_out gate up act down shared_gate ffn_out ffn_post_norm x_out "
          "final_norm logits").split()
DENSE = {"gate", "up", "act", "down"}  # of a layer without experts, or of the expert that all tokens share
CHOSEN = {"router", "experts", "expert_weights", "experts_out"}  # what experts make on the way is inside their module
SHARED = {"shared_gate", "ffn_out"}

BEFORE = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
AFTER = {"post_attention_layernorm": "attn_post_norm", "post_feedforward_layernorm": "ffn_post_norm"}
AROUND = {"input_layernorm": "attn_norm", "pre_feedforward_layernorm": "ffn_norm", **AFTER}
HEAD_NORMS = {"q_norm": "q_norm", "k_norm": "k_norm"}

# Modules without a say in what is where.
NEUTRAL = {"act_fn", "activation_fn", "resid_attn_dropout", "resid_mlp_dropout", "rotary_emb"}


@dataclasses.dataclass(frozen=True)
class Layout:
    norms: dict  # of a layer: module -> stage
    rope_rows: str  # the order of the GGUF's rows of Wq and Wk: "pairs" where its converter reorders them, or "halves"
    head_norms: dict = dataclasses.field(default_factory=dict)  # of its attention: module -> stage
    heads_first: bool = False  # those norms see [B, heads, S, head_dim], not [B, S, heads, head_dim]
    fused: bool = False  # qkv_proj and gate_up_proj
    experts: bool = False  # in the place of the dense projections
    shared: bool = False  # beside them an expert that all tokens share, and its gate

    def attention_modules(self):
        return {"o_proj", *self.head_norms} | ({"qkv_proj"} if self.fused else {"q_proj", "k_proj", "v_proj"})

    def mlp_modules(self):
        if self.experts:
            return {"gate", "experts"} | ({"shared_expert", "shared_expert_gate"} if self.shared else set())
        return self.dense_modules()

    def dense_modules(self):
        return {"down_proj"} | ({"gate_up_proj"} if self.fused else {"gate_proj", "up_proj"})

    def stages(self, rotates, attention_is_open):
        """The stages that a layer shows, in order. rotates: it has RoPE; attention_is_open: scores can be seen."""
        lacking = {"final_norm", "logits"} | (set() if rotates else {"q_rope", "k_rope"})
        lacking |= set() if attention_is_open else {"qk", "softmax"}
        lacking |= set() if self.experts else CHOSEN
        lacking |= DENSE if self.experts and not self.shared else set()
        lacking |= set() if self.shared else SHARED
        optional = {*AROUND.values(), *HEAD_NORMS.values()} - {*self.norms.values(), *self.head_norms.values()}
        return [stage for stage in STAGES if stage not in lacking | optional]


# By config.model_type. Read from transformers' modelling files, and llama.cpp's converter for the rows.
TYPES = {
    "llama": Layout(BEFORE, "pairs"),
    "mistral": Layout(BEFORE, "pairs"),
    "smollm3": Layout(BEFORE, "pairs"),
    "granite": Layout(BEFORE, "pairs"),
    "qwen2": Layout(BEFORE, "halves"),
    "qwen3": Layout(BEFORE, "halves", HEAD_NORMS),
    "gemma2": Layout(AROUND, "halves"),
    "gemma3_text": Layout(AROUND, "halves", HEAD_NORMS, heads_first=True),
    "olmo2": Layout(AFTER, "halves", HEAD_NORMS),
    "phi3": Layout(BEFORE, "halves", fused=True),
    "mixtral": Layout(BEFORE, "pairs", experts=True),
    "qwen2_moe": Layout(BEFORE, "halves", experts=True, shared=True),
    "qwen3_moe": Layout(BEFORE, "halves", HEAD_NORMS, experts=True),
}


def layout_of(model_type, like=None):
    """The layout of a type, or of the type that it is said to be built like. ValueError for one that is not known."""
    name = model_type if like is None else like
    if name in TYPES:
        return TYPES[name]
    raise ValueError(f'how the layers of model type "{name}" are built is not known; known are {", ".join(TYPES)}: '
                     'say layout="llama" if they are built like that one\'s')


def demand_layout(layer, index, layout):
    """ValueError when a decoder layer has other modules than the layout says."""
    parts = [("", layer, {"self_attn", "mlp", *layout.norms})]
    parts += [("self_attn.", getattr(layer, "self_attn", None), layout.attention_modules()),
              ("mlp.", getattr(layer, "mlp", None), layout.mlp_modules())]
    if layout.shared:
        parts += [("mlp.shared_expert.", getattr(layer.mlp, "shared_expert", None), layout.dense_modules())]
    for prefix, module, wanted in parts:
        there = {name for name, _ in module.named_children()} if module is not None else set()
        if absent := sorted(wanted - there):
            raise ValueError(f"layer {index} has no {prefix}{absent[0]}: it is not built as its type says, "
                             "and is not recorded")
        if more := sorted(there - wanted - NEUTRAL):
            raise ValueError(f"layer {index} has {prefix}{more[0]}, whose part in it is not known: it is not recorded")
