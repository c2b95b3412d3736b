"""Checkpoint directories of tiny random models, written with numpy alone. Values of a tensor are what a format holds;
what they stand for is computed here from the formats' descriptions: nothing comes from GRETA."""

import json
import struct

import numpy as np

E4M3_NAN = 0x7F
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
DTYPES = {"float32": "F32", "float16": "F16", "int32": "I32", "int64": "I64", "int8": "I8", "uint8": "U8"}


class Bits:
    """Numbers of a format that numpy has not."""

    def __init__(self, dtype, bits):
        self.dtype, self.bits = dtype, bits
        self.shape = bits.shape

    def tobytes(self):
        return np.ascontiguousarray(self.bits).tobytes()


def e4m3(codes):
    codes = codes.astype(np.int64)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
    return np.where(codes & 0x80, -size, size)


def to_bf16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def save(path, tensors):
    header, at = {}, 0
    for name, values in tensors.items():
        data = values.tobytes()
        dtype = values.dtype if isinstance(values, Bits) else DTYPES[values.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(np.ascontiguousarray(v).tobytes() if isinstance(v, np.ndarray) else v.tobytes()
                              for v in tensors.values()))


def load(path):
    """F32 tensors of a file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    return {name: np.frombuffer(data[8 + size + of["data_offsets"][0] : 8 + size + of["data_offsets"][1]], np.float32)
            .reshape(of["shape"]) for name, of in header.items() if name != "__metadata__"}


# Tokens: letters, each its own.
def tokenizer():
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {"added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            "model": {"type": "BPE", "vocab": {letter: i for i, letter in enumerate(letters)}, "merges": []}}


SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 144, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
         "vocab_size": 26, "hidden_act": "silu", "tie_word_embeddings": False, "rope_theta": 10000.0}


def matrices():
    """name -> [rows, columns] of the matrices that are quantised: all of the layers."""
    width, kv, ff = 64, 32, 144
    shapes = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
              "self_attn.o_proj": (width, width), "mlp.gate_proj": (ff, width), "mlp.up_proj": (ff, width),
              "mlp.down_proj": (width, ff)}
    return {f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in shapes.items()}


def rest(random):
    """What is never quantised."""
    tensors = {"model.embed_tokens.weight": random.standard_normal((26, 64), np.float32),
               "lm_head.weight": random.standard_normal((26, 64), np.float32) / 8,
               "model.norm.weight": random.uniform(0.5, 1.5, 64).astype(np.float32)}
    for layer in range(2):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = random.uniform(0.5, 1.5, 64).astype(np.float32)
    return tensors


# Each format: what is stored of a matrix [rows, columns], and the matrix.

def scale(random, shape, size):
    return random.uniform(0.5, 1.5, shape) * size / np.sqrt(64)


def fp8_blocks(random, rows, columns, block=(128, 128)):
    codes = random.integers(0, 256, (rows, columns), np.uint8)
    codes[codes & 0x7F == E4M3_NAN] = 0
    shape = (-(-rows // block[0]), -(-columns // block[1]))
    scales = scale(random, shape, 0.01).astype(np.float32)
    spread = np.repeat(np.repeat(scales, block[0], 0)[:rows], block[1], 1)[:, :columns]
    return {"weight": Bits("F8_E4M3", codes), "weight_scale_inv": scales}, e4m3(codes) * spread


def fp8_one(random, rows, columns):
    stored, _ = fp8_blocks(random, rows, columns)
    one = np.float32(0.0007)
    return {"weight": stored["weight"], "weight_scale": np.array(one), "input_scale": np.array(one)}, \
        e4m3(stored["weight"].bits) * float(one)


def fp8_rows(random, rows, columns):
    stored, _ = fp8_blocks(random, rows, columns)
    scales = to_bf16(scale(random, (rows, 1), 0.01))
    return {"weight": stored["weight"], "weight_scale": Bits("BF16", scales)}, \
        e4m3(stored["weight"].bits) * from_bf16(scales)


def packed(codes, bits):
    """[.., n] codes into 32-bit words along the last axis, the first lowest; what is left is zero."""
    per_word = 32 // bits
    codes = np.concatenate((codes, np.zeros((*codes.shape[:-1], -codes.shape[-1] % per_word), codes.dtype)), -1)
    words = codes.reshape(*codes.shape[:-1], -1, per_word).astype(np.uint64)
    return (words << (np.arange(per_word, dtype=np.uint64) * bits)).sum(-1).astype(np.uint32).view(np.int32)


def gptq(random, rows, columns, bits=4, group=16, act_order=False, less=1):
    groups = columns // group
    codes = random.integers(0, 1 << bits, (columns, rows))
    zeros = random.integers(1, 1 << bits, (groups, rows))
    scales = scale(random, (groups, rows), 0.3 if bits < 8 else 0.02).astype(np.float16)
    of = np.arange(columns, dtype=np.int32) // group
    if act_order:
        of = random.permutation(of)
    matrix = (codes - zeros[of]) * scales[of].astype(np.float64)
    return {"qweight": np.ascontiguousarray(packed(codes.T, bits).T), "qzeros": packed(zeros - less, bits),
            "scales": scales, "g_idx": of.astype(np.int32)}, matrix.T


def awq(random, rows, columns, group=16):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    groups = columns // group
    codes, zeros = random.integers(0, 16, (columns, rows)), random.integers(0, 16, (groups, rows))
    scales = scale(random, (groups, rows), 0.3).astype(np.float16)

    def words(values):
        return packed(values.reshape(len(values), -1, 8)[:, :, order].reshape(len(values), -1), 4)

    spread = np.repeat(np.arange(groups), group)
    return {"qweight": words(codes), "qzeros": words(zeros), "scales": scales}, \
        ((codes - zeros[spread]) * scales[spread].astype(np.float64)).T


def compressed(random, rows, columns, bits=4, group=16, zero=False, order=False):
    groups = columns // group
    half = 1 << (bits - 1)
    codes = random.integers(-half, half, (rows, columns))
    zeros = random.integers(-half, half, (rows, groups)) if zero else np.zeros((rows, groups), np.int64)
    scales = to_bf16(scale(random, (rows, groups), 0.3 if bits < 8 else 0.02))
    of = np.arange(columns) // group
    stored = {"weight_packed": packed(codes + half, bits), "weight_scale": Bits("BF16", scales),
              "weight_shape": np.array([rows, columns], np.int64)}
    if zero:
        stored["weight_zero_point"] = np.ascontiguousarray(packed((zeros + half).T, bits).T)
    if order:
        of = random.permutation(of)
        stored["weight_g_idx"] = of.astype(np.int32)
    return stored, (codes - zeros[:, of]) * from_bf16(scales)[:, of].astype(np.float64)


def int8_rows(random, rows, columns, zero=False):
    codes = random.integers(-128, 128, (rows, columns), np.int8)
    scales = scale(random, (rows, 1), 0.02).astype(np.float32)
    zeros = random.integers(-9, 9, (rows, 1), np.int8) if zero else np.zeros((rows, 1), np.int8)
    stored = {"weight": codes, "weight_scale": scales, **({"weight_zero_point": zeros} if zero else {})}
    return stored, (codes.astype(np.int64) - zeros) * scales.astype(np.float64)


def group_of(**weights):
    return {"quant_method": "compressed-tensors", "format": weights.pop("format"),
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}


# name -> (how a matrix is stored, quantization_config)
FORMATS = {
    "fp8 blocks": (fp8_blocks, {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}),
    "fp8 tensor": (fp8_one, {"quant_method": "fp8", "activation_scheme": "static"}),
    "fp8 rows": (fp8_rows, {"quant_method": "fbgemm_fp8"}),
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": False}),
    "gptq order": (lambda *a: gptq(*a, act_order=True), {"quant_method": "gptq", "bits": 4, "desc_act": True}),
    "gptq 8": (lambda *a: gptq(*a, bits=8), {"quant_method": "gptq", "bits": 8}),
    "gptq 2": (lambda *a: gptq(*a, bits=2), {"quant_method": "gptq", "bits": 2}),
    "gptq v2": (lambda *a: gptq(*a, less=0), {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "version": "gemm", "zero_point": True, "group_size": 16}),
    "packed": (compressed, group_of(format="pack-quantized", num_bits=4, type="int", strategy="group", group_size=16,
                                    symmetric=True)),
    "packed zeros": (lambda *a: compressed(*a, zero=True), group_of(
        format="pack-quantized", num_bits=4, type="int", strategy="group", group_size=16, symmetric=False)),
    "packed order": (lambda *a: compressed(*a, order=True), group_of(
        format="pack-quantized", num_bits=4, type="int", strategy="group", group_size=16, actorder="group")),
    "packed rows": (lambda random, rows, columns: compressed(random, rows, columns, group=columns), group_of(
        format="pack-quantized", num_bits=4, type="int", strategy="channel", symmetric=True)),
    "packed 8": (lambda *a: compressed(*a, bits=8), group_of(
        format="pack-quantized", num_bits=8, type="int", strategy="group", group_size=16)),
    "int8": (int8_rows, group_of(format="int-quantized", num_bits=8, type="int", strategy="channel")),
    "int8 zeros": (lambda *a: int8_rows(*a, zero=True), group_of(
        format="int-quantized", num_bits=8, type="int", strategy="channel", symmetric=False)),
    "float8": (fp8_rows, group_of(format="float-quantized", num_bits=8, type="float", strategy="channel")),
}


def write(folder, tensors, config, quantisation=None):
    folder.mkdir(parents=True)
    if quantisation is not None:
        config = {**config, "quantization_config": quantisation}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    save(folder / "model.safetensors", tensors)


def write_pair(folder, name):
    """folder/stored in the format, and folder/plain: the same in f32."""
    random, (store, quantisation) = np.random.default_rng(len(name)), FORMATS[name]
    plain = rest(random)
    stored = dict(plain)
    for matrix, (rows, columns) in matrices().items():
        parts, values = store(random, rows, columns)
        stored.update({f"{matrix}.{part}": tensor for part, tensor in parts.items()})
        plain[matrix + ".weight"] = values.astype(np.float32)
    config = {"model_type": "llama", **SIZES}
    write(folder / "stored", stored, config, quantisation)
    write(folder / "plain", plain, config)


# Mixtures of experts

def mxfp4(random, *shape):
    """[.., rows, columns] -> blocks, scales, values."""
    codes = random.integers(0, 16, shape)
    scales = random.integers(118, 124, (*shape[:-1], shape[-1] // 32), np.uint8)
    pairs = codes.reshape(*shape[:-1], -1, 16, 2)
    values = E2M1[codes] * np.repeat(2.0 ** (scales.astype(np.float64) - 127), 32, -1)
    return (pairs[..., 0] | pairs[..., 1] << 4).astype(np.uint8), scales, values


def experts_model(model_type, random):
    """config and plain tensors, an expert's matrix each."""
    config = {"model_type": model_type, **SIZES, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
              "shared_expert_intermediate_size": 144, "norm_topk_prob": model_type == "qwen3_moe"}
    ff = 144 if model_type == "mixtral" else 32
    config["num_local_experts" if model_type == "mixtral" else "num_experts"] = 5
    tensors = rest(random)

    def matrix(*shape):
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
            tensors[f"{prefix}self_attn.{name}_proj.weight"] = matrix(rows, 64)
            if model_type == "qwen2_moe" and name != "o":
                tensors[f"{prefix}self_attn.{name}_proj.bias"] = matrix(rows)
        if model_type == "qwen3_moe":
            for name in "qk":
                tensors[f"{prefix}self_attn.{name}_norm.weight"] = random.uniform(0.5, 1.5, 16).astype(np.float32)
        block = prefix + ("block_sparse_moe." if model_type == "mixtral" else "mlp.")
        tensors[block + "gate.weight"] = matrix(5, 64)
        names = ("w1", "w3", "w2") if model_type == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        for expert in range(5):
            for name, shape in zip(names, ((ff, 64), (ff, 64), (64, ff))):
                tensors[f"{block}experts.{expert}.{name}.weight"] = matrix(*shape)
        if model_type == "qwen2_moe":
            for name, shape in (("gate_proj", (144, 64)), ("up_proj", (144, 64)), ("down_proj", (64, 144))):
                tensors[f"{block}shared_expert.{name}.weight"] = matrix(*shape)
            tensors[block + "shared_expert_gate.weight"] = matrix(1, 64)
    return config, tensors


def gpt_oss_model(random):
    """config and tensors as transformers keeps them: experts [experts, columns, rows], gate and up by turns."""
    config = {"model_type": "gpt_oss", **SIZES, "intermediate_size": 32, "num_local_experts": 5, "sliding_window": 8,
              "num_experts_per_tok": 2, "layer_types": ["sliding_attention", "full_attention"], "swiglu_limit": 7.0,
              "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0,
                               "original_max_position_embeddings": 16, "truncate": False}}
    tensors = rest(random)

    def values(*shape):
        return (random.standard_normal(shape) / 8).astype(np.float32)

    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
            tensors[f"{prefix}self_attn.{name}_proj.weight"] = values(rows, 64)
            tensors[f"{prefix}self_attn.{name}_proj.bias"] = values(rows)
        tensors[prefix + "self_attn.sinks"] = values(4)
        for name, shape in (("router.weight", (5, 64)), ("router.bias", (5,)), ("experts.gate_up_proj", (5, 64, 64)),
                            ("experts.gate_up_proj_bias", (5, 64)), ("experts.down_proj", (5, 32, 64)),
                            ("experts.down_proj_bias", (5, 64))):
            tensors[f"{prefix}mlp.{name}"] = values(*shape)
    return config, tensors


MLA = {"heads": 4, "rank": 32, "nope": 32, "rope": 32, "out": 24}


def deepseek_model(random):
    """config and tensors of DeepSeek V3's form: a dense layer, then one with experts."""
    config = {"model_type": "deepseek_v3", **SIZES, "q_lora_rank": 48, "kv_lora_rank": MLA["rank"],
              "qk_nope_head_dim": MLA["nope"], "qk_rope_head_dim": MLA["rope"], "v_head_dim": MLA["out"],
              "first_k_dense_replace": 1, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1,
              "moe_intermediate_size": 32, "routed_scaling_factor": 2.5, "norm_topk_prob": True, "n_group": 4,
              "topk_group": 2, "num_key_value_heads": 4, "num_nextn_predict_layers": 1,
              "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                               "mscale": 1.0, "mscale_all_dim": 1.0}}
    del config["head_dim"]
    tensors = rest(random)

    def matrix(*shape):
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def norm(width):
        return random.uniform(0.5, 1.5, width).astype(np.float32)

    for layer in range(2):
        own = f"model.layers.{layer}.self_attn."
        tensors |= {own + "q_a_proj.weight": matrix(48, 64), own + "q_a_layernorm.weight": norm(48),
                    own + "q_b_proj.weight": matrix(4 * 64, 48), own + "kv_a_proj_with_mqa.weight": matrix(64, 64),
                    own + "kv_a_layernorm.weight": norm(32), own + "kv_b_proj.weight": matrix(4 * 56, 32),
                    own + "o_proj.weight": matrix(64, 4 * 24)}
    for layer, name, ff in ((0, "", 144), (1, "shared_experts.", 32), *((1, f"experts.{e}.", 32) for e in range(8))):
        own = f"model.layers.{layer}.mlp.{name}"
        tensors |= {own + "gate_proj.weight": matrix(ff, 64), own + "up_proj.weight": matrix(ff, 64),
                    own + "down_proj.weight": matrix(64, ff)}
    tensors["model.layers.1.mlp.gate.weight"] = 4 * matrix(8, 64)
    tensors["model.layers.1.mlp.gate.e_score_correction_bias"] = matrix(8)
    tensors["model.layers.2.eh_proj.weight"] = matrix(64, 128)  # multi-token prediction
    return config, tensors


def fused(tensors):
    """The same with all experts of a layer in one tensor, gate and up in one, under `mlp`."""
    out, experts = {}, {}
    for name, values in tensors.items():
        if ".experts." not in name:
            out[name.replace("block_sparse_moe.", "mlp.")] = values
            continue
        block, rest_of_name = name.split(".experts.")
        number, part = rest_of_name.split(".")[:2]
        experts.setdefault(block.replace("block_sparse_moe", "mlp"), {}).setdefault(int(number), {})[part] = values
    for block, of in experts.items():
        parts = [[of[n].get(new, of[n].get(old)) for n in sorted(of)]
                 for new, old in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2"))]
        out[block + ".experts.gate_up_proj"] = np.stack([np.concatenate(pair) for pair in zip(parts[0], parts[1])])
        out[block + ".experts.down_proj"] = np.stack(parts[2])
    return out


def gguf_tensors(config, tensors):
    """GGUF's names, its order of rows, and all experts in one; the types that its converter gives."""
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "mlp.gate": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
             "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
             "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp"}
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    out = {}
    for name, values in fused(tensors).items():
        if name.endswith("gate_up_proj"):
            layer = name.split(".")[2]
            gate, up = np.split(values, 2, 1)
            out[f"blk.{layer}.ffn_gate_exps.weight"], out[f"blk.{layer}.ffn_up_exps.weight"] = gate, up
            continue
        if name.endswith("experts.down_proj"):
            out[f"blk.{name.split('.')[2]}.ffn_down_exps.weight"] = values
            continue
        whole, _, kind = name.rpartition(".")
        if whole in outside:
            out[f"{outside[whole]}.{kind}"] = values
            continue
        _, _, layer, own = whole.split(".", 3)
        if config["model_type"] == "mixtral" and own in ("self_attn.q_proj", "self_attn.k_proj"):
            values = values.reshape(-1, 2, 8, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        out[f"blk.{layer}.{names[own]}.{kind}"] = values
    return out
