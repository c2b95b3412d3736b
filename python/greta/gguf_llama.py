"""A transformers model with the weights of a llama-architecture GGUF. Needs torch, transformers, gguf."""

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

from .rope_rows import pairs_to_halves

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def config_of(reader):
    """ValueError for what this loader does not know: other architectures, scaled or partial RoPE."""
    fields = {name.removeprefix("llama."): f for name, f in reader.fields.items() if name.startswith("llama.")}
    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        raise ValueError(f"architecture {architecture}: only llama is known; load the model yourself, see capture()")

    def get(name, default=None):
        return fields[name].contents() if name in fields else default

    heads = get("attention.head_count")
    head_dim = get("attention.key_length", get("embedding_length") // heads)
    if get("rope.scaling.type", "none") != "none" or get("rope.dimension_count", head_dim) != head_dim:
        raise ValueError("scaled or partial RoPE: not known here; load the model yourself, see capture()")
    names = {tensor.name for tensor in reader.tensors}
    return LlamaConfig(
        vocab_size=next(int(t.shape[1]) for t in reader.tensors if t.name == "token_embd.weight"),
        hidden_size=get("embedding_length"), intermediate_size=get("feed_forward_length"),
        num_hidden_layers=get("block_count"), num_attention_heads=heads,
        num_key_value_heads=get("attention.head_count_kv", heads), head_dim=head_dim,
        max_position_embeddings=get("context_length"), rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in names, attn_implementation="eager")


def name_of(name):
    """blk.0.attn_q.weight -> model.layers.0.self_attn.q_proj.weight."""
    part, kind = name.rsplit(".", 1)
    if part in OUTSIDE:
        return f"{OUTSIDE[part]}.{kind}"
    _, layer, part = part.split(".")
    return f"model.layers.{layer}.{IN_LAYER[part]}.{kind}"


def load_llama(path):
    """The model in f32 with eager attention: weights decoded (each rounded to f32 once), the rows of Wq and Wk put
    back into the order of halves. ValueError for a model that it does not know."""
    reader = GGUFReader(path)
    config = config_of(reader)
    weights = {}
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = np.ascontiguousarray(pairs_to_halves(values.T, config.head_dim).T)
        try:
            weights[name_of(tensor.name)] = torch.from_numpy(values)
        except (KeyError, ValueError):
            raise ValueError(f"{path}: tensor {tensor.name} is not known here; load the model yourself, "
                             "see capture()") from None
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights)
    return model.eval()
