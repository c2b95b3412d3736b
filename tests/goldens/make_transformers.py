#!/usr/bin/env python3
"""Writes transformers/*.tgz: bundles of transformers running SmolLM2 in f32, clean and with a bug put into the Python
model. Layer 0 of six tokens: prefill, prefill_last, decode0, without final_norm and logits.

    pip install torch transformers gguf numpy
    python3 tests/goldens/make_transformers.py MODEL.gguf [DIR]

With DIR, also bundles of all layers of the prompt p4_sys, as directories DIR/NAME.
"""

import contextlib
import gzip
import json
import pathlib
import sys
import tarfile
import tempfile

import torch
from transformers.models.llama import modeling_llama

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

from greta.capture import STAGES, capture  # noqa: E402
from greta.gguf_model import load_gguf  # noqa: E402
from greta.rope_rows import halves_to_pairs  # noqa: E402

TOKENS = [19161, 582, 1890, 6330, 563, 38081]  # the first six of p5_ba
BUGGY_LAYER = 0  # of the bugs that are in one layer


@contextlib.contextmanager
def replaced(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def clean(model):
    return contextlib.nullcontext()


def rope_pairs_k(model):
    """Keys of all layers turn in adjacent pairs although the rows of Wk are in the order of halves. In the GGUF's
    order, with angle j: values 4 j and 4 j + 2 for j < head_dim / 4, then 4 j' + 1 and 4 j' + 3, j' = j - head_dim / 4.
    """
    right = modeling_llama.apply_rotary_pos_emb

    def wrong(q, k, cos, sin, *args, **kwargs):
        q_rope, _ = right(q, k, cos, sin, *args, **kwargs)
        half = k.shape[-1] // 2
        even, odd, c, s = k[..., ::2], k[..., 1::2], cos[:, None, :, :half], sin[:, None, :, :half]
        return q_rope, torch.stack((even * c - odd * s, even * s + odd * c), -1).flatten(-2)

    return replaced(modeling_llama, "apply_rotary_pos_emb", wrong)


def rope_halves_k(model):
    """Keys of all layers turn in halves where the GGUF's rows are in pairs: values i and i + head_dim / 2 of its order.
    """
    right = modeling_llama.apply_rotary_pos_emb

    def to_pairs(k):
        return k.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)

    def to_halves(k):
        return k.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)

    def wrong(q, k, *args, **kwargs):
        q_rope, k_rope = right(q, to_pairs(k), *args, **kwargs)
        return q_rope, to_halves(k_rope)

    return replaced(modeling_llama, "apply_rotary_pos_emb", wrong)


def wk_rows_of_gguf(model):
    """Layer 0's Wk keeps the GGUF's row order (pairs) in a model that turns halves: loaded without reordering."""
    weight = model.model.layers[BUGGY_LAYER].self_attn.k_proj.weight
    rows = halves_to_pairs(weight.detach().numpy().T, model.config.head_dim).T
    return replaced(weight, "data", torch.from_numpy(rows.copy()))


def kv_head_tile(model):
    """Head h of all layers reads kv head h % n_head_kv instead of h / (n_head / n_head_kv)."""
    return replaced(modeling_llama, "repeat_kv", lambda heads, n: heads.repeat(1, n, 1, 1))


def norm_eps(model):
    """attn_norm of layer 0 has eps 1e-6; the model says 1e-5."""
    norm = model.model.layers[BUGGY_LAYER].input_layernorm
    assert abs(norm.variance_epsilon - 1e-5) < 1e-9
    return replaced(norm, "variance_epsilon", 1e-6)


def write_tgz(path, directory):
    """Without times and owners: equal files give equal bytes."""
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for member in sorted(directory.iterdir()):
                info = tarfile.TarInfo(member.name)
                info.size, info.mode = member.stat().st_size, 0o644
                with open(member, "rb") as content:
                    archive.addfile(info, content)


def main():
    gguf = sys.argv[1]
    model = load_gguf(gguf)
    p4_sys = json.loads((HERE / "prompts.json").read_text())["smollm2"]["p4_sys"]
    stages = [stage for stage in STAGES if stage not in ("final_norm", "logits")]
    for bug in (clean, rope_pairs_k, rope_halves_k, wk_rows_of_gguf, kv_head_tile, norm_eps):
        name = bug.__name__
        options = {"gguf": gguf, "manifest": {"options": {"bug": name, "torch": torch.__version__}}}
        with bug(model), tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / name
            capture(model, TOKENS, out, prompt_id="p5_ba_6", layers=[0], stages=stages, **options)
            write_tgz(HERE / "transformers" / f"{name}.tgz", out)
            if sys.argv[2:]:
                capture(model, p4_sys, pathlib.Path(sys.argv[2]) / name, prompt_id="p4_sys", **options)


main()
