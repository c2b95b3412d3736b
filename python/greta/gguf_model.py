"""A transformers model with the weights of a GGUF, of every type in layouts.TYPES without experts. Needs torch,
transformers, gguf."""

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

from .layouts import TYPES
from .model_shape import MODEL_TYPES
from .rope_rows import pairs_to_halves

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_LAYER = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMS = {"attn_norm": "attn_norm", "attn_post_norm": "post_attention_norm", "ffn_norm": "ffn_norm",
         "ffn_post_norm": "post_ffw_norm"}  # stage -> the GGUF's name of its weight

# Keys that change the computation, and the only value that this loader can take.
HARMLESS = {"rope.scaling.type": "none", "expert_count": 0}
CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}  # of gemma2, and what they are by default


class Keys:
    """The GGUF's keys, read without the architecture in front of them."""

    def __init__(self, reader):
        self._fields = reader.fields
        self.architecture = reader.fields["general.architecture"].contents()

    def get(self, name, default=None):
        field = self._fields.get(f"{self.architecture}.{name}")
        return default if field is None else field.contents()


def config_of(reader):
    """ValueError for what this loader does not know: other architectures, RoPE that is scaled by keys."""
    keys = Keys(reader)
    if keys.architecture not in MODEL_TYPES:
        raise ValueError(f"architecture {keys.architecture} is not known; known are {', '.join(MODEL_TYPES)}: load the "
                         "model yourself, see capture()")
    for name, harmless in HARMLESS.items():
        if keys.get(name, harmless) != harmless:
            raise ValueError(f"{name} is {keys.get(name)}: not known here; load the model yourself, see capture()")
    for name in CAPS:
        if keys.architecture != "gemma2" and keys.get(name, 0.0) != 0:
            raise ValueError(f"{name} is {keys.get(name)}: not known here; load the model yourself, see capture()")
    kind, layers, heads = MODEL_TYPES[keys.architecture], keys.get("block_count"), keys.get("attention.head_count")
    head_dim = keys.get("attention.key_length", keys.get("embedding_length") // heads)
    rotated, window = keys.get("rope.dimension_count", head_dim), keys.get("attention.sliding_window", 0) or None
    rope = {"rope_type": "default", "rope_theta": keys.get("rope.freq_base", 10000.0)}
    tensors = {tensor.name for tensor in reader.tensors}
    values = {
        "vocab_size": next(int(t.shape[1]) for t in reader.tensors if t.name == "token_embd.weight"),
        "hidden_size": keys.get("embedding_length"), "intermediate_size": keys.get("feed_forward_length"),
        "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": keys.get("attention.head_count_kv", heads), "head_dim": head_dim,
        "max_position_embeddings": keys.get("context_length"),
        "rms_norm_eps": keys.get("attention.layer_norm_rms_epsilon"), "rope_parameters": rope,
        "tie_word_embeddings": "output.weight" not in tensors,
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    if kind == "llama":
        values.update(attention_bias="blk.0.attn_q.bias" in tensors, mlp_bias="blk.0.ffn_down.bias" in tensors)
    if kind == "llama" and window is not None:
        kind = "mistral"
    if kind in ("mistral", "phi3"):
        values["sliding_window"] = window
    if kind == "phi3":
        values["original_max_position_embeddings"] = keys.get("context_length")
        rope["partial_rotary_factor"] = rotated / head_dim
    elif rotated != head_dim:
        raise ValueError("partial RoPE: not known here; load the model yourself, see capture()")
    if kind == "smollm3":
        values["no_rope_layers"] = [int((layer + 1) % 4 != 0) for layer in range(layers)]
    if kind == "granite":
        values.update(embedding_multiplier=keys.get("embedding_scale", 1.0),
                      residual_multiplier=keys.get("residual_scale", 1.0), logits_scaling=keys.get("logit_scale", 1.0),
                      attention_multiplier=keys.get("attention.scale", head_dim**-0.5))
    if kind == "gemma2":
        types = ["sliding_attention" if layer % 2 == 0 else "full_attention" for layer in range(layers)]
        values.update(sliding_window=window, layer_types=types,
                      query_pre_attn_scalar=keys.get("embedding_length") // heads if layers == 46 else head_dim,
                      **{name: keys.get(name, usual) for name, usual in CAPS.items()})
    if kind == "gemma3_text":
        types = ["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(layers)]
        local = {"rope_type": "default", "rope_theta": keys.get("rope.freq_base_swa", 10000.0)}
        values.update(sliding_window=window, layer_types=types,
                      rope_parameters={"full_attention": rope, "sliding_attention": local},
                      query_pre_attn_scalar=keys.get("embedding_length") // heads if layers == 62 else head_dim)
    return transformers.AutoConfig.for_model(kind, **values)


def name_of(name, layout):
    """blk.0.attn_q.weight -> model.layers.0.self_attn.q_proj.weight. KeyError, ValueError for a name not known."""
    part, kind = name.rsplit(".", 1)
    if part in OUTSIDE:
        return f"{OUTSIDE[part]}.{kind}"
    _, layer, part = part.split(".")
    known = IN_LAYER | {NORMS[stage]: module for module, stage in layout.norms.items()}
    if layout.fused:
        known["ffn_up"] = "mlp.gate_up_proj"
    return f"model.layers.{layer}.{known[part]}.{kind}"


def load_gguf(path, attention="eager"):
    """The model in f32: weights decoded (each rounded to f32 once), rows of Wq and Wk put back into the order of halves
    where the converter had reordered them. ValueError for a model that it does not know."""
    reader = GGUFReader(path)
    config = config_of(reader)
    layout, weights, factors = TYPES[config.model_type], {}, None
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if tensor.name == "rope_freqs.weight":
            factors = torch.from_numpy(values)
            continue
        part = tensor.name.split(".")[-2]
        if layout.rope_rows == "pairs" and part in ("attn_q", "attn_k"):
            values = np.ascontiguousarray(pairs_to_halves(values.T, config.head_dim).T)
        if config.model_type in ("gemma2", "gemma3_text") and part.endswith("_norm"):
            values = values - 1  # Gemma multiplies with 1 + weight
        try:
            weights[name_of(tensor.name, layout)] = torch.from_numpy(values)
        except (KeyError, ValueError):
            raise ValueError(f"{path}: tensor {tensor.name} is not known here; load the model yourself, "
                             "see capture()") from None
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    model.load_state_dict(weights)
    if factors is not None:
        model.model.rotary_emb.inv_freq.div_(factors)
    return model.eval()
