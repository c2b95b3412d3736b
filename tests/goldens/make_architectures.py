#!/usr/bin/env python3
"""Writes architectures/NAME.tgz: a tiny model of random weights for each architecture (model.gguf) and what
transformers computes with it in f64 (golden.safetensors).

    pip install torch transformers gguf safetensors numpy
    python3 tests/goldens/make_architectures.py [DIR [NAME...]]

With DIR, also DIR/NAME.gguf with the same weights as F32 (llama.cpp rounds activations to f16 in front of F16 matrices;
with F32 ones its logits can be compared to f32 noise), DIR/NAME.safetensors, and DIR/NAME, the transformers model.

golden.safetensors: `tokens` [24], `rows` (the positions whose activations are there), `logits` [24, n_vocab],
`final_norm` and `L<layer>.<stage>` [len(rows), width], f64 rounded to f32, in the row order of the GGUF. x_in is there
for layer 0 only: elsewhere it is the x_out of the layer before. attn_out and down are what Wo and the down projection
give, before norms and multipliers. What chosen experts make stands one after the other, in the order of their scores.
"""

import gzip
import io
import pathlib
import sys
import tarfile
import tempfile

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save
from torch.overrides import TorchFunctionMode

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

from greta.rope_rows import halves_to_pairs  # noqa: E402

N_VOCAB, N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 160, 64, 96, 4, 2
N_TOKENS = 24
ROWS = [7, 8, 23]  # of a window of 8, the last to see all and the first not to; the last
GRID = 64  # weights are multiples of 1 / GRID: exact in f16, and the archive is small


def f32(value):
    """What a GGUF's float key keeps of a number: the model must compute with that."""
    return float(np.float32(value))


def config(kind, **more):
    values = dict(
        vocab_size=N_VOCAB,
        hidden_size=N_EMBD,
        intermediate_size=N_FF,
        num_hidden_layers=4,
        num_attention_heads=N_HEAD,
        num_key_value_heads=N_HEAD_KV,
        max_position_embeddings=256,
        rms_norm_eps=f32(1e-5),
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
        attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    return getattr(transformers, kind)(**(values | more))


# Wavelengths below 16, between, and above 64 positions: all three cases within a head of 16.
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
LLAMA3_ROPE["original_max_position_embeddings"] = 64

# Local layers turn with a base that is no default, so that whoever ignores the key is found out.
GEMMA_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
    "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
}

# Borders of the ramp within the 8 and 16 pairs of a head, at no whole pair. (llama.cpp reads no other betas than 32 and
# 1 of these architectures.)
YARN_ROPE = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=1024)
OSS_ROPE = dict(rope_type="yarn", rope_theta=15000.0, factor=8.0, original_max_position_embeddings=1024, beta_fast=32.0,
                beta_slow=1.0, truncate=False)

def long_rope(original):
    """Of so many positions; models of 4 times as many."""
    factor = f32(np.sqrt(1 + np.log(4) / np.log(original)))
    return dict(rope_type="longrope", rope_theta=10000.0, attention_factor=factor, factor=4.0,
                original_max_position_embeddings=original, short_factor=[1 + i / 32 for i in range(8)],
                long_factor=[1 + i * i / 8 for i in range(8)])


# In scores alone: mscale and mscale_all_dim are equal, as in all that DeepSeek published.
MLA_YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=1024,
                beta_fast=32.0, beta_slow=1.0, mscale=f32(0.707), mscale_all_dim=f32(0.707))


def mla_config(kind, **more):
    """A dense layer, then two with experts. Heads of 64 = 32 + 32, values of 32, a latent of 64."""
    values = dict(
        num_hidden_layers=3,
        num_key_value_heads=N_HEAD,
        first_k_dense_replace=1,
        moe_intermediate_size=40,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_shared_experts=2,
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=32,
        v_head_dim=48,
        routed_scaling_factor=2.5,
        rms_norm_eps=1e-6,  # some of its norms have just this, whatever the config says
        max_position_embeddings=4096,
        rope_parameters=MLA_YARN,
        experts_implementation="eager",
    )
    return config(kind, **(values | more))


MODELS = {
    "llama": config("LlamaConfig", rope_parameters=LLAMA3_ROPE),
    "qwen2": config("Qwen2Config", tie_word_embeddings=True, rms_norm_eps=f32(1e-6)),
    "qwen3": config("Qwen3Config", head_dim=32, rms_norm_eps=f32(1e-6)),
    "gemma3": config(
        "Gemma3TextConfig",
        num_hidden_layers=7,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=8,
        rms_norm_eps=f32(1e-6),
        tie_word_embeddings=True,
        rope_parameters=GEMMA_ROPE,
    ),
    # The caps are of the size of scores and logits: whoever leaves them out is found out.
    "gemma2": config(
        "Gemma2Config",
        num_hidden_layers=5,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=8,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=8.0,
        rms_norm_eps=f32(1e-6),
        tie_word_embeddings=True,
    ),
    "phi3": config("Phi3Config", original_max_position_embeddings=256, sliding_window=None),
    "mistral": config("MistralConfig", head_dim=24, sliding_window=None),
    "smollm3": config("SmolLM3Config", num_hidden_layers=5, tie_word_embeddings=True),
    "olmo2": config("Olmo2Config", rms_norm_eps=f32(1e-6)),
    "granite": config(
        "GraniteConfig",
        tie_word_embeddings=True,
        embedding_multiplier=12.0,
        residual_multiplier=f32(0.22),
        attention_multiplier=f32(0.35),
        logits_scaling=f32(1.7),
    ),
    "yarn": config("LlamaConfig", rope_parameters=YARN_ROPE, max_position_embeddings=4096),
    "linear": config("LlamaConfig", rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    "partial": config(
        "Phi3Config",
        original_max_position_embeddings=256,
        sliding_window=None,
        head_dim=16,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
    ),
    # 24 tokens are within the context of the short factors, and beyond it.
    "longrope": config("Phi3Config", original_max_position_embeddings=256, max_position_embeddings=1024,
                       sliding_window=None, rope_parameters=long_rope(256)),
    "longrope_long": config("Phi3Config", original_max_position_embeddings=16, max_position_embeddings=64 * 16,
                            sliding_window=None, rope_parameters=long_rope(16)),
    # 24 is no multiple of a panel's 16 rows. Gates and ups reach beyond their clamps.
    "gpt-oss": config(
        "GptOssConfig",
        num_hidden_layers=3,
        head_dim=32,
        intermediate_size=24,
        num_local_experts=6,
        num_experts_per_tok=2,
        sliding_window=8,
        rope_parameters=OSS_ROPE,
        max_position_embeddings=8192,
        experts_implementation="eager",
    ),
    "deepseek2": mla_config("DeepseekV3Config", q_lora_rank=48, n_group=4, topk_group=2, norm_topk_prob=True),
    # As V2 Lite: q is projected at once, a softmax, all experts eligible.
    "deepseek2_lite": mla_config("DeepseekV2Config", q_lora_rank=None, n_group=1, topk_group=1, topk_method="greedy",
                                 norm_topk_prob=False),
    # Of fine-tunes: biases of all projections, and a table with more rows than there are tokens.
    "tuned": config("LlamaConfig", attention_bias=True, mlp_bias=True),
    "mixtral": config(
        "MixtralConfig",
        num_hidden_layers=3,
        intermediate_size=64,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=None,
        experts_implementation="eager",
    ),
    "qwen2moe": config(
        "Qwen2MoeConfig",
        num_hidden_layers=3,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=N_FF,
        num_experts=6,
        num_experts_per_tok=2,
        norm_topk_prob=False,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        experts_implementation="eager",
    ),
    # 40 is no multiple of a panel's 16 rows.
    "qwen3moe": config(
        "Qwen3MoeConfig",
        num_hidden_layers=3,
        head_dim=32,
        moe_intermediate_size=40,
        num_experts=9,
        num_experts_per_tok=3,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        rms_norm_eps=f32(1e-6),
        experts_implementation="eager",
    ),
}
EXPERTS = ("mixtral", "qwen2moe", "qwen3moe", "gpt-oss", "deepseek2", "deepseek2_lite")
MLA = ("deepseek2", "deepseek2_lite")
LATER = ("gemma2", "yarn", "linear", "partial", "longrope", "longrope_long")  # than the others' seeds
SEEDS = {name: seed for seed, name in enumerate(sorted(set(MODELS) - {*EXPERTS, *LATER}))}
SEEDS |= {name: 100 + seed for seed, name in enumerate(EXPERTS)}
SEEDS |= {name: 200 + seed for seed, name in enumerate(LATER)}

# Where it is not the name.
GGUF_ARCHITECTURE = {name: "llama" for name in ("mistral", "mixtral", "tuned", "yarn", "linear")}
PHIS = ("phi3", "partial", "longrope", "longrope_long")
GGUF_ARCHITECTURE |= {name: "phi3" for name in PHIS} | {"deepseek2_lite": "deepseek2"}
# Rows of q and k in adjacent pairs.
PERMUTED = ("llama", "mistral", "mixtral", "smollm3", "granite", "tuned", "yarn", "linear")
GEMMAS = ("gemma2", "gemma3")
PADDING = {"tuned": 16}  # rows of the embedding without a token
EMBEDDING_SIZE = {"gemma2": 0.125, "gemma3": 0.125, "granite": 0.1}  # the model multiplies by 8, 8 and 12


class Float64(TorchFunctionMode):
    """transformers computes norms, softmax and RoPE in f32 whatever the model's dtype: here f32 means f64, and a tensor
    of any other precision is an error."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        if func in (torch.topk, torch.Tensor.topk):
            kwargs = {**(kwargs or {}), "sorted": True}  # the order that experts are recorded in
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64:
                raise TypeError(f"{func} made {value.dtype}")
        return result


def make_model(name):
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name], dtype=torch.float64).eval()
    random = np.random.default_rng(SEEDS[name])
    for key, weight in sorted(model.named_parameters()):
        shape = tuple(weight.shape)
        if "norm" in key:
            values = random.uniform(0.5, 1.5, shape)  # of what the norm is multiplied with
        elif key.endswith(("bias", "sinks")):
            values = random.normal(0, 0.5, shape)
        elif name == "gpt-oss" and "experts" in key:
            values = random.normal(0, (0.4 if "down" in key else 3) / np.sqrt(shape[-2]), shape)
        elif name in MLA and key.endswith("mlp.gate.weight"):
            values = random.normal(0, 4 / np.sqrt(shape[-1]), shape)  # few near ties
        elif name == "gpt-oss" and "router.weight" in key:
            values = random.normal(0, 4 / np.sqrt(shape[-1]), shape)  # few near ties
        elif "embed_tokens" in key:
            values = random.normal(0, EMBEDDING_SIZE.get(name, 1), shape)
        else:
            values = random.normal(0, 1.2 / np.sqrt(shape[-1]), shape)
        values = np.rint(values * GRID) / GRID
        assert (values == values.astype(np.float16)).all()
        if "norm" in key and name in GEMMAS:
            values -= 1  # Gemma multiplies with 1 + weight
        weight.data = torch.from_numpy(values)
    for key, buffer in model.named_buffers():
        if key.endswith("e_score_correction_bias"):
            values = np.rint(random.normal(0, 0.3, tuple(buffer.shape)) * GRID) / GRID
            buffer.copy_(torch.from_numpy(values))
    return model


def traced(model, tokens):
    """Stages by name, [n_tokens, width], and the logits."""
    stages = {}
    n_layer, where = len(model.model.layers), {}

    def put(stage, value):
        layer = where.get("layer")
        key = stage if layer is None else f"L{layer}.{stage}"
        assert key not in stages, key
        if value.ndim == 4:  # [1, tokens, heads, head_dim] or [1, heads, tokens, head_dim]
            value = value if value.shape[1] == N_TOKENS else value.transpose(1, 2)
        stages[key] = value.reshape(N_TOKENS, -1).clone()

    def output(module, stage):
        if module is not None:
            module.register_forward_hook(lambda m, inputs, out: put(stage, out))

    def inputs(module, stage):
        module.register_forward_pre_hook(lambda m, args: put(stage, args[0]))

    def split(module, names, sizes):
        def hook(m, args, out):
            for stage, part in zip(names, out.split(sizes, dim=-1)):
                put(stage, part)

        module.register_forward_hook(hook)

    def experts(module):
        """transformers computes expert by expert, rows together: each product, by row and place in the choice."""
        linear, products = torch.nn.functional.linear, []

        def before(m, args):
            def seen(x, weight, *more):
                products.append((x, linear(x, weight, *more)))
                return products[-1][1]

            torch.nn.functional.linear = seen

        def after(m, args, out):
            torch.nn.functional.linear = linear
            _, chosen, weights = args
            put("experts", chosen.to(torch.float64))
            put("expert_weights", weights)
            slots = {"expert_gate": {}, "expert_up": {}, "expert_act": {}, "expert_down": {}}
            for n, expert in enumerate(sorted(set(chosen.flatten().tolist()))):
                (_, both), (act, down) = products[2 * n : 2 * n + 2]
                # In the order of torch.where on [experts, places, rows].
                places = [(row, place) for place, row in (chosen.T == expert).nonzero().tolist()]
                for i, at in enumerate(places):
                    gate, up = both[i].chunk(2)
                    for stage, value in zip(slots, (gate, up, act[i], down[i])):
                        slots[stage][at] = value
            for stage, values in slots.items():
                put(stage, torch.stack([values[at] for at in sorted(values)]))
            put("experts_out", out)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def interleaved_experts(module):
        """gpt-oss': products of matrices that lie the other way round, gate and up by turns."""

        def hook(m, args, out):
            x, chosen, weights = args
            put("experts", chosen.to(torch.float64))
            put("expert_weights", weights)
            pick = chosen.reshape(-1)
            rows = x.repeat_interleave(chosen.shape[-1], 0).unsqueeze(1)
            both = (rows @ m.gate_up_proj[pick]).squeeze(1) + m.gate_up_proj_bias[pick]
            act = m._apply_gate(both)
            down = (act.unsqueeze(1) @ m.down_proj[pick]).squeeze(1) + m.down_proj_bias[pick]
            for stage, value in (("expert_gate", both[:, ::2]), ("expert_up", both[:, 1::2]), ("expert_act", act),
                                 ("expert_down", down)):
                put(stage, value)
            put("experts_out", out)
            # The same as transformers' own sum.
            whole = (down.reshape(*chosen.shape, -1) * weights.unsqueeze(-1)).sum(1)
            assert torch.allclose(whole, out.reshape(whole.shape), rtol=1e-12, atol=1e-12)

        module.register_forward_hook(hook)

    def of_experts(mlp):
        if hasattr(mlp, "router"):
            mlp.router.register_forward_hook(lambda m, args, out: put("router", out[0]))
            interleaved_experts(mlp.experts)
            return None
        mlp.gate.register_forward_hook(lambda m, args, out: put("router", out[0]))
        experts(mlp.experts)
        if hasattr(mlp, "shared_experts"):
            if hasattr(mlp.gate, "e_score_correction_bias"):
                mlp.gate.register_forward_hook(lambda m, args, out: put("expert_probs", out[0].sigmoid()))
            mlp.register_forward_hook(lambda m, args, out: put("ffn_out", out))
            return mlp.shared_experts
        shared = getattr(mlp, "shared_expert", None)
        if shared is not None:
            output(mlp.shared_expert_gate, "shared_gate")
            mlp.register_forward_hook(lambda m, args, out: put("ffn_out", out))
        return shared

    def latent(attention):
        """MLA as transformers computes it, up to where GRETA absorbs Wkv_b, and after it."""
        rank, turns = attention.kv_lora_rank, attention.qk_rope_head_dim
        if attention.q_lora_rank is None:
            output(attention.q_proj, "q")
        else:
            output(attention.q_a_proj, "q_a")
            output(attention.q_a_layernorm, "q_a_norm")
            output(attention.q_b_proj, "q")
        split(attention.kv_a_proj_with_mqa, "vk", [rank, turns])
        output(attention.kv_a_layernorm, "v_norm")
        inputs(attention.o_proj, "head_out")

    for layer, block in enumerate(model.model.layers):
        block.register_forward_pre_hook(lambda m, args, layer=layer: where.update(layer=layer))
        attention = block.self_attn
        mlp = of_experts(block.mlp) if hasattr(block.mlp, "experts") else block.mlp
        inputs(block, "x_in")
        output(getattr(block, "input_layernorm", None), "attn_norm")
        if hasattr(attention, "kv_b_proj"):
            latent(attention)
            output(getattr(mlp, "gate_proj", None), "gate")
            output(getattr(mlp, "up_proj", None), "up")
        elif hasattr(attention, "qkv_proj"):
            width = MODELS["phi3"].hidden_size
            split(attention.qkv_proj, "qkv", [width, width // 2, width // 2])
            split(mlp.gate_up_proj, ("gate", "up"), [N_FF, N_FF])
        else:
            for stage in "qkv":
                output(getattr(attention, f"{stage}_proj"), stage)
            output(getattr(mlp, "gate_proj", None), "gate")
            output(getattr(mlp, "up_proj", None), "up")
        output(getattr(attention, "q_norm", None), "q_norm")
        output(getattr(attention, "k_norm", None), "k_norm")
        if not hasattr(attention, "kv_b_proj"):
            inputs(attention.o_proj, "pv")
        output(attention.o_proj, "attn_out")
        if mlp is not None:
            inputs(mlp.down_proj, "act")
            output(mlp.down_proj, "down")
        if hasattr(block, "pre_feedforward_layernorm") or not hasattr(block, "input_layernorm"):
            output(block.post_attention_layernorm, "attn_post_norm")
            output(block.post_feedforward_layernorm, "ffn_post_norm")
            before_ffn = getattr(block, "pre_feedforward_layernorm", None)
        else:
            before_ffn = block.post_attention_layernorm
        inputs(before_ffn or block.mlp, "x_attn")
        output(before_ffn, "ffn_norm")
        output(block, "x_out")
        block.register_forward_hook(lambda m, args, out: where.clear())
    output(model.model.norm, "final_norm")

    source = sys.modules[type(model).__module__]
    names = ("apply_rotary_emb", "apply_rotary_pos_emb_interleave", "apply_rotary_pos_emb")
    name = next(name for name in names if hasattr(source, name))
    rotate = getattr(source, name)

    def rotate_and_put(*args, **kwargs):
        q, k = rotate(*args, **kwargs)
        put("q_rope", q)  # of MLA the part of it that turns
        put("k_rope", k)
        return q, k

    setattr(source, name, rotate_and_put)
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    setattr(source, name, rotate)
    assert sum(key.endswith(".x_out") for key in stages) == n_layer
    return stages, logits


def golden(name, model):
    tokens = np.random.default_rng(99).integers(5, N_VOCAB, N_TOKENS).tolist()
    stages, logits = traced(model, tokens)
    tensors = {"tokens": np.array(tokens, np.int32), "rows": np.array(ROWS, np.int32)}
    tensors["logits"] = logits.numpy().astype(np.float32)
    for key, value in stages.items():
        stage = key.split(".")[-1]
        if stage == "x_in" and key != "L0.x_in":
            continue
        value = value.numpy()
        if name == "deepseek2" and stage in ("q_rope", "k_rope"):  # pairs came in, halves come out
            value = halves_to_pairs(value, model.config.qk_rope_head_dim)
        if name in MLA and stage == "q_rope":  # with the part of each head that does not turn
            whole = stages[key.replace("q_rope", "q")].numpy().reshape(N_TOKENS, N_HEAD, -1).copy()
            whole[..., -model.config.qk_rope_head_dim :] = value.reshape(N_TOKENS, N_HEAD, -1)
            value = whole.reshape(N_TOKENS, -1)
        if name in PERMUTED and stage in ("q", "k", "q_rope", "k_rope"):
            value = halves_to_pairs(value, model.model.layers[0].self_attn.head_dim)
        tensors[key] = value[ROWS].astype(np.float32)
    return save(tensors)


def add_keys(writer, name, c):
    """As llama.cpp's converter writes them for the architecture."""
    writer.add_name(f"tiny random {name}")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(1 if name in MLA else N_HEAD_KV)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    head_dim = getattr(c, "head_dim", None) or N_EMBD // N_HEAD
    if name in ("llama", "qwen3", "qwen3moe", *GEMMAS, "mistral", "gpt-oss", "yarn", "linear"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if name in (*PERMUTED, *PHIS):
        writer.add_rope_dimension_count(head_dim // 2 if name == "partial" else head_dim)
    if name in PERMUTED:
        writer.add_vocab_size(N_VOCAB)
    if name == "gemma3":
        writer.add_rope_freq_base(c.rope_parameters["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(c.rope_parameters["sliding_attention"]["rope_theta"])
        writer.add_sliding_window(c.sliding_window)
    else:
        writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    if name == "gemma2":
        writer.add_sliding_window(c.sliding_window)
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    rope = c.rope_parameters
    if rope.get("rope_type") in ("yarn", "linear"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if name == "gpt-oss":
        writer.add_sliding_window(c.sliding_window)
        writer.add_expert_feed_forward_length(c.intermediate_size)
    if rope.get("rope_type") == "longrope":
        writer.add_rope_scaling_attn_factors(rope["attention_factor"])
    if name in PHIS:
        writer.add_rope_scaling_orig_ctx_len(c.original_max_position_embeddings)
        writer.add_sliding_window(0)
    if name in EXPERTS:
        experts = getattr(c, "num_local_experts", None) or getattr(c, "num_experts", None) or c.n_routed_experts
        writer.add_expert_count(experts)
        writer.add_expert_used_count(c.num_experts_per_tok)
    if name in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    if name == "qwen2moe":
        writer.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
    if name in MLA:
        add_mla_keys(writer, c)
    if name == "granite":
        writer.add_attention_scale(c.attention_multiplier)
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)


def add_mla_keys(writer, c):
    writer.add_vocab_size(N_VOCAB)
    writer.add_leading_dense_block_count(c.first_k_dense_replace)
    if c.q_lora_rank is not None:
        writer.add_q_lora_rank(c.q_lora_rank)
    writer.add_kv_lora_rank(c.kv_lora_rank)
    writer.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
    writer.add_value_length(c.kv_lora_rank)
    writer.add_key_length_mla(c.qk_nope_head_dim + c.qk_rope_head_dim)
    writer.add_value_length_mla(c.v_head_dim)
    writer.add_rope_dimension_count(c.qk_rope_head_dim)
    writer.add_rope_scaling_yarn_log_mul(0.1 * c.rope_parameters["mscale_all_dim"])
    writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    writer.add_expert_shared_count(c.n_shared_experts)
    writer.add_expert_weights_scale(c.routed_scaling_factor)
    sigmoid = c.model_type == "deepseek_v3"
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    if c.norm_topk_prob:
        writer.add_expert_weights_norm(True)
    if c.n_group > 1:
        writer.add_expert_group_count(c.n_group)
        writer.add_expert_group_used_count(c.topk_group)


def mla_tensors(key, values, c):
    """Of kv_b_proj: what queries are multiplied by, and what makes heads' outputs; {} of any other tensor."""
    if not key.endswith("kv_b_proj.weight"):
        return {}
    layer = key.split(".")[2]
    heads = values.reshape(N_HEAD, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank)
    keys, made = heads[:, : c.qk_nope_head_dim], heads[:, c.qk_nope_head_dim :]
    return {f"blk.{layer}.attn_k_b.weight": keys.swapaxes(1, 2), f"blk.{layer}.attn_v_b.weight": made}


def add_tokenizer(writer, n_tokens):
    """SentencePiece: special tokens, printable ASCII, and as many words of two letters as fit."""
    special = {"<unk>": 2, "<s>": 3, "</s>": 3, "<|endoftext|>": 3, "<0x0A>": 6}  # and their types
    texts = [*special, "\u2581"] + [chr(c) for c in range(33, 127)]
    texts += [a + b for a in "abcdefgh" for b in "abcdefgh"][: n_tokens - len(texts)]
    assert len(texts) == n_tokens
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores([-float(i) for i in range(n_tokens)])
    writer.add_token_types([*special.values()] + [1] * (n_tokens - len(special)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def expert_tensors(key, values):
    """Of a tensor of a mixture of experts: GGUF's names and what they hold; {} of any other."""
    layer, _, rest = key.removeprefix("model.layers.").partition(".mlp.")
    if rest.startswith("experts.gate_up_proj") and values.shape[-1] != N_EMBD:  # gpt-oss': by turns
        gate, up, kind = values[..., ::2], values[..., 1::2], "bias" if rest.endswith("bias") else "weight"
        if kind == "weight":
            gate, up = gate.swapaxes(1, 2), up.swapaxes(1, 2)
        return {f"blk.{layer}.ffn_gate_exps.{kind}": gate, f"blk.{layer}.ffn_up_exps.{kind}": up}
    if rest == "experts.down_proj_bias":
        return {f"blk.{layer}.ffn_down_exps.bias": values}
    if rest.startswith("router."):
        return {f"blk.{layer}.ffn_gate_inp.{rest.removeprefix('router.')}": values}
    if rest == "experts.gate_up_proj":
        gate, up = np.split(values, 2, axis=1)
        return {f"blk.{layer}.ffn_gate_exps.weight": gate, f"blk.{layer}.ffn_up_exps.weight": up}
    name = {
        "experts.down_proj": "ffn_down_exps",
        "gate.weight": "ffn_gate_inp",
        "shared_experts.gate_proj.weight": "ffn_gate_shexp",
        "shared_experts.up_proj.weight": "ffn_up_shexp",
        "shared_experts.down_proj.weight": "ffn_down_shexp",
        "shared_expert_gate.weight": "ffn_gate_inp_shexp",
        "shared_expert.gate_proj.weight": "ffn_gate_shexp",
        "shared_expert.up_proj.weight": "ffn_up_shexp",
        "shared_expert.down_proj.weight": "ffn_down_shexp",
    }.get(rest)
    return {f"blk.{layer}.{name}.weight": values} if name else {}


def write_gguf(path, name, model, factors, matrix_type):
    architecture = GGUF_ARCHITECTURE.get(name, name)
    writer = gguf.GGUFWriter(path, architecture)
    add_keys(writer, name, model.config)
    add_tokenizer(writer, N_VOCAB - PADDING.get(name, 0))
    kind = {text: kind for kind, text in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(kind, model.config.num_hidden_layers)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for length in ("long", "short"):
        if model.config.rope_parameters.get(f"{length}_factor"):
            values = np.array(model.config.rope_parameters[f"{length}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", values)
    for key, buffer in model.named_buffers():
        if key.endswith("e_score_correction_bias"):
            writer.add_tensor(f"blk.{key.split('.')[2]}.exp_probs_b.bias", buffer.numpy().astype(np.float32))
    for key, weight in model.named_parameters():
        values = weight.detach().numpy()
        if name in PERMUTED and ("q_proj" in key or "k_proj" in key):
            values = halves_to_pairs(values.T, model.model.layers[0].self_attn.head_dim).T
        if name in GEMMAS and "norm" in key:
            values = values + 1
        own_name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name == "gpt-oss" and key.endswith("sinks"):
            own_name = f"blk.{key.split('.')[2]}.attn_sinks.weight"
        if name == "gpt-oss" and key.endswith("experts.down_proj"):
            values = values.swapaxes(1, 2)
        parts = expert_tensors(key, values) or mla_tensors(key, values, model.config) or {own_name: values}
        for to, part in parts.items():
            is_matrix = part.ndim > 1 and "ffn_gate_inp" not in to and "bias" not in to  # routers stay F32
            stored = np.ascontiguousarray(part, matrix_type if is_matrix else np.float32)
            assert (stored == part).all()
            writer.add_tensor(to, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tgz(path, members):
    """Without times and owners: equal files give equal bytes."""
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                archive.addfile(info, io.BytesIO(content))


def make(name, more):
    with Float64():
        model = make_model(name)
        factors = None
        if name == "llama":
            rope = model.model.rotary_emb
            plain, _ = rope.compute_default_rope_parameters(model.config)
            factors = (plain / rope.inv_freq).numpy().astype(np.float32)  # the GGUF's; the model gets the same
            rope.inv_freq.copy_(plain / torch.from_numpy(factors.astype(np.float64)))
        recorded = golden(name, model)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.gguf"
        write_gguf(path, name, model, factors, np.float16)
        members = {"model.gguf": path.read_bytes(), "golden.safetensors": recorded}
    write_tgz(HERE / "architectures" / f"{name}.tgz", members)
    if more:
        write_gguf(more / f"{name}.gguf", name, model, factors, np.float32)
        (more / f"{name}.safetensors").write_bytes(recorded)
        model.save_pretrained(more / name)


def main():
    torch.set_default_dtype(torch.float64)
    (HERE / "architectures").mkdir(exist_ok=True)
    more = pathlib.Path(sys.argv[1]) if sys.argv[1:] else None
    for name in sys.argv[2:] or MODELS:
        make(name, more)


if __name__ == "__main__":
    main()
