"""Tiny random models of transformers' llama-like types, and what each stage of them is in numpy and f64, written from
the types' own modelling files: nothing here comes from python/greta. Needs torch and transformers."""

import numpy as np
import torch
import transformers

HEADS, KV_HEADS, DIM, FF, VOCAB, BASE, LOCAL_BASE, WINDOW = 4, 2, 8, 24, 16, 10000.0, 500.0, 4
GEMMA_ROPE = {"sliding_attention": {"rope_type": "default", "rope_theta": LOCAL_BASE},
              "full_attention": {"rope_type": "default", "rope_theta": BASE}}

# Of each type: its names in transformers, its config beyond the common one, and how its layers are built.
TYPES = {
    "llama": ("Llama", {}, {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}, {"windows": (WINDOW, WINDOW)}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}, {"rotates": (True, False)}),
    "granite": ("Granite", {"embedding_multiplier": 3.0, "residual_multiplier": 0.25, "attention_multiplier": 0.375,
                            "logits_scaling": 1.75}, {"scales": (3.0, 0.25, 0.375, 1 / 1.75)}),
    "qwen2": ("Qwen2", {}, {}),
    "qwen3": ("Qwen3", {"head_dim": DIM}, {"head_norm": "head"}),
    "gemma2": ("Gemma2", {"head_dim": DIM, "query_pre_attn_scalar": 10, "sliding_window": WINDOW,
                          "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
               {"norms": "around", "windows": (WINDOW, None), "caps": (1.5, 2.0), "gelu": True, "one_more": 1.0,
                "scales": (np.sqrt(HEADS * DIM), 1.0, 10**-0.5, 1.0)}),
    "gemma3": ("Gemma3", {"head_dim": DIM, "query_pre_attn_scalar": 10, "sliding_window": WINDOW,
                          "layer_types": ["sliding_attention", "full_attention"], "rope_parameters": GEMMA_ROPE},
               {"head_norm": "head", "norms": "around", "windows": (WINDOW, None), "bases": (LOCAL_BASE, BASE),
                "scales": (np.sqrt(HEADS * DIM), 1.0, 10**-0.5, 1.0), "gelu": True, "one_more": 1.0}),
    "olmo2": ("Olmo2", {}, {"head_norm": "row", "norms": "after"}),
    "phi3": ("Phi3", {"sliding_window": None, "original_max_position_embeddings": 64}, {}),
    "mixtral": ("Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}, {"experts": 2, "sum_to_1": True}),
    "qwen2_moe": ("Qwen2Moe", {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 12,
                               "shared_expert_intermediate_size": FF, "norm_topk_prob": False},
                  {"experts": 3, "sum_to_1": False, "shared": True}),
    "qwen3_moe": ("Qwen3Moe", {"head_dim": DIM, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
                               "norm_topk_prob": True}, {"head_norm": "head", "experts": 2, "sum_to_1": True}),
}
IN_PAIRS = ("llama", "mistral", "mixtral", "smollm3", "granite")  # the rows of q and k in their GGUFs
NORMS = {  # attn_norm, attn_post_norm, ffn_norm, ffn_post_norm
    "before": ("input_layernorm", None, "post_attention_layernorm", None),
    "after": (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
    "around": ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
               "post_feedforward_layernorm"),
}


def tiny(name, attention="eager", dtype=torch.float32, **more):
    """A model of two layers. No weight has the value that it is made with: biases are there, norms are not 1."""
    kind, own, _ = TYPES[name]
    config = {"Gemma3": "Gemma3TextConfig"}.get(kind, kind + "Config")
    common = {
        "vocab_size": VOCAB, "hidden_size": HEADS * DIM, "intermediate_size": FF, "num_hidden_layers": 2,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5, "pad_token_id": None,
        "max_position_embeddings": 64, "tie_word_embeddings": False, "attn_implementation": attention,
        "rope_parameters": {"rope_type": "default", "rope_theta": BASE}}
    config = getattr(transformers, config)(**{**common, **own, **more})
    return randomised(transformers.AutoModelForCausalLM.from_config(
        config, dtype=dtype, attn_implementation=attention), name)


def tiny_with_vision(attention="eager"):
    """Gemma 3 as a model of text and images, whose decoder is tiny("gemma3")'s."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(
        text_config=tiny("gemma3").config.to_dict(), vision_config=vision, mm_tokens_per_image=4,
        image_token_id=VOCAB - 1, boi_token_id=VOCAB - 2, eoi_token_id=VOCAB - 3)
    return randomised(transformers.Gemma3ForConditionalGeneration._from_config(
        config, attn_implementation=attention), "gemma3")


def randomised(model, name):
    torch.manual_seed(7)
    for key, weight in sorted(model.named_parameters()):
        if "norm" in key:
            weight.data.uniform_(0.5, 1.5).sub_(TYPES[name][2].get("one_more", 0))
        else:
            weight.data.normal_(0, 1 / np.sqrt(weight.shape[-1]) if weight.dim() > 1 else 0.5)
    return model.eval()


def in_gguf_order(rows, name):
    """Heads of halves -> of adjacent pairs, where the type's GGUF has them: value i + DIM / 2 comes beside value i."""
    if name not in IN_PAIRS:
        return rows
    order = np.arange(DIM).reshape(2, DIM // 2).T.reshape(-1)
    return rows.reshape(*rows.shape[:-1], -1, DIM)[..., order].reshape(rows.shape)


def rotated(rows, positions, name, base):
    heads, j = rows.reshape(len(rows), -1, DIM), np.arange(DIM // 2)
    a, b = (2 * j, 2 * j + 1) if name in IN_PAIRS else (j, j + DIM // 2)
    angle = np.asarray(positions)[:, None, None] * base ** (-2.0 * j / DIM)
    out = np.empty_like(heads)
    out[..., a] = heads[..., a] * np.cos(angle) - heads[..., b] * np.sin(angle)
    out[..., b] = heads[..., a] * np.sin(angle) + heads[..., b] * np.cos(angle)
    return out.reshape(rows.shape)


def activation(x, gelu):
    return x / (1 + np.exp(-x)) if not gelu else x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def capped(x, cap):
    return x if cap is None else cap * np.tanh(x / cap)


class Truth:
    """Each stage from the stages recorded before it."""

    def __init__(self, model, name):
        self.name, self.about, self.eps = name, TYPES[name][2], 1e-5
        self.weights = {key.replace("language_model.", ""): weight.float().numpy().astype(np.float64)
                        for key, weight in model.state_dict().items()}
        self.embedding, self.residual, self.attention, self.output = self.about.get(
            "scales", (1.0, 1.0, DIM**-0.5, 1.0))
        self.score_cap, self.logit_cap = self.about.get("caps", (None, None))

    def norm(self, x, key):
        weight = self.weights[key + ".weight"] + self.about.get("one_more", 0)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight

    def product(self, x, key, layer):
        """Fused matrices are cut here: q, k, v are parts of one, gate and up of another."""
        prefix, part = f"model.layers.{layer}.", key.split(".")[-1]
        if prefix + key + ".weight" in self.weights:
            return x @ self.weights[prefix + key + ".weight"].T + self.weights.get(prefix + key + ".bias", 0)
        if part in ("gate_proj", "up_proj"):
            half = np.split(self.weights[prefix + "mlp.gate_up_proj.weight"], 2)
            return x @ half[part == "up_proj"].T
        q, k, v = np.split(self.weights[prefix + "self_attn.qkv_proj.weight"],
                           [HEADS * DIM, (HEADS + KV_HEADS) * DIM])
        return x @ {"q_proj": q, "k_proj": k, "v_proj": v}[part].T

    def layer(self, get, layer, positions):
        """Yields (stage, f64 values). get(stage): what was recorded, or None."""
        about, prefix = self.about, f"model.layers.{layer}."
        before, after_attention, before_ffn, after_ffn = NORMS[about.get("norms", "before")]
        rotates = about.get("rotates", (True, True))[layer]
        base = about.get("bases", (BASE, BASE))[layer]
        window = about.get("windows", (None, None))[layer]

        def normed(stage, source, weight):
            """Yields the norm of source; what was recorded of it, or source where the type has none."""
            if not weight:
                return source
            yield stage, self.norm(source, prefix + weight)
            return get(stage)

        source = yield from normed("attn_norm", get("x_in"), before)
        made = {}
        for stage in "qkv":
            y = self.product(source, f"self_attn.{stage}_proj", layer)
            yield stage, y if stage == "v" else in_gguf_order(y, self.name)
            made[stage] = get(stage)
        for stage in "qk":
            if kind := about.get("head_norm"):
                heads = made[stage].reshape(len(positions), -1, DIM) if kind == "head" else made[stage]
                y = self.norm(heads, f"{prefix}self_attn.{stage}_norm").reshape(len(positions), -1)
                yield stage + "_norm", y
                made[stage] = get(stage + "_norm")
        for stage in "qk":
            if rotates:
                yield stage + "_rope", rotated(made[stage], positions, self.name, base)
                made[stage] = get(stage + "_rope")

        cache = get("kv_write")
        new = np.concatenate((made["k"], made["v"]), -1)
        yield "kv_write", np.concatenate((cache[: positions[0]], new))
        group = np.repeat(np.arange(KV_HEADS), HEADS // KV_HEADS)
        keys, values = (half.reshape(-1, KV_HEADS, DIM)[:, group] for half in np.split(cache, 2, axis=-1))
        scores = np.einsum("shd,nhd->shn", made["q"].reshape(-1, HEADS, DIM), keys) * self.attention
        scores = capped(scores, self.score_cap)
        there, at = np.arange(len(cache))[None, :], np.asarray(positions)[:, None]
        hidden = there > at if window is None else (there > at) | (there <= at - window)
        scores = np.where(hidden[:, None], -np.inf, scores)
        if get("qk") is not None:
            yield "qk", scores
            scores = get("qk")
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        if get("softmax") is not None:
            yield "softmax", shares
            shares = get("softmax")
        yield "pv", np.einsum("shn,nhd->shd", shares, values).reshape(len(positions), -1)

        yield "attn_out", self.product(get("pv"), "self_attn.o_proj", layer)
        branch = yield from normed("attn_post_norm", get("attn_out"), after_attention)
        yield "x_attn", get("x_in") + self.residual * branch
        source = yield from normed("ffn_norm", get("x_attn"), before_ffn)
        if "experts" in about:
            branch = yield from self.experts(get, layer, source)
        if "experts" not in about or about.get("shared"):
            part = "mlp.shared_expert." if about.get("shared") else "mlp."
            yield "gate", self.product(source, part + "gate_proj", layer)
            yield "up", self.product(source, part + "up_proj", layer)
            yield "act", activation(get("gate"), about.get("gelu", False)) * get("up")
            yield "down", self.product(get("act"), part + "down_proj", layer)
            branch = get("down")
        if about.get("shared"):
            yield "shared_gate", self.product(source, "mlp.shared_expert_gate", layer)
            yield "ffn_out", get("experts_out") + get("down") / (1 + np.exp(-get("shared_gate")))
            branch = get("ffn_out")
        branch = yield from normed("ffn_post_norm", branch, after_ffn)
        yield "x_out", get("x_attn") + self.residual * branch

    def experts(self, get, layer, source):
        """By the recorded choice. Yields; what was recorded of the experts' sum."""
        used, prefix = self.about["experts"], f"model.layers.{layer}.mlp."
        yield "router", source @ self.weights[prefix + "gate.weight"].T
        scores = get("router")
        yield "experts", np.argsort(-scores, axis=-1, kind="stable")[:, :used].astype(np.float64)
        numbers = get("experts").astype(int)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        chosen = np.take_along_axis(shares, numbers, -1)
        yield "expert_weights", chosen / chosen.sum(-1, keepdims=True) if self.about["sum_to_1"] else chosen
        both, down = (self.weights[f"{prefix}experts.{name}"] for name in ("gate_up_proj", "down_proj"))
        gate, up = np.split(np.einsum("rk,runk->run", source, both[numbers]), 2, axis=-1)
        outputs = np.einsum("run,rumn->rum", activation(gate, False) * up, down[numbers])
        yield "experts_out", (outputs * get("expert_weights")[..., None]).sum(1)
        return get("experts_out")

    def embedded(self, tokens):
        return self.weights["model.embed_tokens.weight"][tokens] * self.embedding

    def end(self, get, x_out):
        yield "final_norm", self.norm(x_out, "model.norm")
        yield "logits", capped(get("final_norm") @ self.weights["lm_head.weight"].T * self.output, self.logit_cap)
