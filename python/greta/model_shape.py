"""The sizes of a model and what it is told by, from a config of transformers, config.json or a GGUF's header. Needs
numpy; gguf for GGUF files."""

import dataclasses
import hashlib
import json
import pathlib

# By GGUF architecture. A llama with a window is a mistral, one with experts a mixtral: built alike but for these.
MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2",
               "gemma3": "gemma3_text", "phi3": "phi3",
               "smollm3": "smollm3", "olmo2": "olmo2", "granite": "granite", "qwen2moe": "qwen2_moe",
               "qwen3moe": "qwen3_moe"}


@dataclasses.dataclass(frozen=True)
class ModelShape:
    model_type: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_ff: int
    n_vocab: int
    unrotated: tuple = ()  # layers without RoPE

    def width(self, stage):
        """Values of a row of a stage; None where that is not the same everywhere."""
        if stage in ("q", "q_norm", "q_rope", "pv"):
            return self.n_head * self.head_dim
        if stage in ("k", "v", "k_norm", "k_rope"):
            return self.n_head_kv * self.head_dim
        if stage == "logits":
            return self.n_vocab
        by_expert = ("gate", "up", "act", "router", "experts", "expert_weights", "shared_gate")
        return None if stage in by_expert or stage.startswith("expert") else self.n_embd


def of_config(config):
    """Of a config's fields by their names in config.json. ValueError for one that lacks any."""
    config = {**config, **(config.get("text_config") or {})}
    try:
        heads = int(config["num_attention_heads"])
        return ModelShape(
            config["model_type"], int(config["num_hidden_layers"]), int(config["hidden_size"]), heads,
            int(config.get("num_key_value_heads") or heads),
            int(config.get("head_dim") or config["hidden_size"] // heads),
            int(config.get("intermediate_size") or config.get("moe_intermediate_size") or 0),
            int(config["vocab_size"]),
            tuple(n for n, rotates in enumerate(config.get("no_rope_layers") or []) if not rotates))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a config without a sound {error}: not one of a language model") from None


def of_path(path):
    """Of a checkpoint's directory or a GGUF file. OSError, ValueError."""
    path = pathlib.Path(path)
    if path.is_dir():
        with open(path / "config.json", encoding="utf-8") as file:
            try:
                config = json.load(file)
            except ValueError as error:
                raise ValueError(f"{path / 'config.json'}: {error}") from None
        if not isinstance(config, dict):
            raise ValueError(f"{path / 'config.json'}: expected an object")
        return of_config(config)
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    architecture = fields["general.architecture"].contents()

    def get(name, default=None):
        field = fields.get(f"{architecture}.{name}")
        value = default if field is None else field.contents()
        return value[0] if isinstance(value, list) else value

    kind = MODEL_TYPES.get(architecture, architecture)
    if kind == "llama" and get("expert_count", 0) > 0:
        kind = "mixtral"
    heads = get("attention.head_count")
    vocab = fields.get("tokenizer.ggml.tokens")
    return ModelShape(
        kind, get("block_count"), get("embedding_length"), heads,
        get("attention.head_count_kv", heads), get("attention.key_length", get("embedding_length") // heads),
        get("feed_forward_length", 0), get("vocab_size", 0 if vocab is None else len(vocab.data)),
        tuple(range(3, get("block_count"), 4)) if architecture == "smollm3" else ())


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_of(path):
    """The files that a model is told by: a GGUF, or config.json and the shards of a directory."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return [path]
    index = path / "model.safetensors.index.json"
    shards = {"model.safetensors"}
    if index.exists():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return sorted([path / "config.json", *(path / shard for shard in shards)], key=lambda file: file.name.encode())


def describe(shape, path=None):
    """The manifest's part on a model; with its path also name, size and hash (docs/models.md)."""
    about = dataclasses.asdict(shape)
    about["architecture"] = about.pop("model_type")
    del about["unrotated"]
    if path is not None:
        files = files_of(path)
        digest = _sha256(files[0])
        if len(files) > 1:
            lines = "".join(f"{_sha256(file)}  {file.name}\n" for file in files)
            digest = hashlib.sha256(lines.encode()).hexdigest()
        about.update(file=pathlib.Path(path).name, bytes=sum(file.stat().st_size for file in files),
                     hash="sha256:" + digest)
    return about
