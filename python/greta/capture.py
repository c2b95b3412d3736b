"""Records a transformers model as a GRETA trace bundle. Needs torch and transformers.

    PYTHONPATH=python python3 -m greta.capture -m MODEL --prompt-file PROMPT.txt --decode --out DIR
    greta diagnose DIR -m MODEL

From Python: capture() for a whole run, Recorder around forward passes of your own.
"""

import argparse
import inspect
import pathlib
import sys

import torch
import transformers

from . import command_line
from .layouts import STAGES, TYPES
from .recorder import Recorder
from .slots import PADDING, nested

HELD = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
__all__ = ["STAGES", "Recorder", "capture"]


def cache_of(model):
    """The model's own kind of cache, windows included, that can be cropped; and forward()'s name for it."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    cache = transformers.DynamicCache(config=model.config)
    if hasattr(cache, "activate_past_recording"):
        cache.activate_past_recording()
    elif any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        cache = transformers.DynamicCache()
    return cache, name


def padded(tokens, side):
    """Sequences of token ids -> ids, positions (PADDING where there is none), both [B, S]."""
    if side not in ("left", "right"):
        raise ValueError(f'padding="{side}"; known are left, right')
    longest = max(map(len, tokens))
    ids, positions = [], []
    for one in tokens:
        fill = longest - len(one)
        left, right = (fill, 0) if side == "left" else (0, fill)
        ids.append([0] * left + one + [0] * right)
        positions.append([PADDING] * left + list(range(len(one))) + [PADDING] * right)
    return ids, positions


@torch.no_grad()
def capture(model, tokens, out, *, decode=True, padding="left", **options):
    """Records the prefill of `tokens` and, with decode, `decode0`: the last token fed again at its own position against
    the cache of those before it. tokens: ids, or a list of them for each sequence of a batch, which is padded on the
    side of `padding` (its mask and its position_ids are passed). The options are Recorder's."""
    tokens, batch = nested(tokens)
    ids, positions = padded(tokens, padding)
    where = torch.tensor(positions)
    is_padded = bool((where == PADDING).any())
    cache, cache_name = cache_of(model)
    if is_padded and padding == "right" and decode and any(getattr(c, "is_sliding", False) for c in cache.layers):
        raise ValueError("transformers counts a window in slots, padding included: pad on the left")

    def run(ids, mask, where):
        place = {"position_ids": where.clamp(min=0).to(model.device)} if batch or len(where[0]) == 1 else {}
        if is_padded:
            place["attention_mask"] = mask.long().to(model.device)
        model(torch.tensor(ids, device=model.device), use_cache=True, **place, **{cache_name: cache})

    with Recorder(model, out, tokens=tokens if batch else tokens[0], **options) as recorder:
        with recorder.phase("prefill", positions):
            run(ids, where != PADDING, where)
        if decode:
            cache.crop(-1)
            last = torch.tensor([[len(one) - 1] for one in tokens])
            # Padded on the right, the last token's own slot is still there: hidden, as the padding is.
            before = (where >= 0) & (where < last)
            with recorder.phase("decode0", last.tolist()):
                run([one[-1:] for one in tokens], torch.cat((before[:, :-1], torch.ones_like(last).bool()), 1), last)


def tokenize(model, text):
    """Ids of the text, special tokens parsed, by transformers' reading of the model's own tokenizer."""
    path = pathlib.Path(model)
    if path.is_dir():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    return tokenizer(text)["input_ids"]


def load_model(path, attention, dtype="f32"):
    """Of a directory, in the format that is asked for; of a GGUF, its weights decoded. The model's code is that of the
    installed transformers alone."""
    if pathlib.Path(path).is_dir():
        return transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=HELD[dtype], attn_implementation=attention).eval()
    from .gguf_model import load_gguf

    if dtype != "f32":
        raise ValueError("--dtype: of a GGUF, weights are decoded to f32")
    return load_gguf(path, attention)


def record_ops(model, tokens, args, prompt_id):
    """Of a type whose layers nobody described: what can be judged without it."""
    from .op_recorder import capture_ops

    unseen = capture_ops(model, tokens, args.out, decode=args.decode, prompt_id=prompt_id,
                         layers=command_line.parse_layers(args.layers), manifest={"command_line": " ".join(sys.argv)})
    print(f"greta.capture: ops of a {model.config.model_type} model are recorded: greta diagnose {args.out} (no -m)",
          file=sys.stderr)
    if unseen:
        print(f"greta.capture: not recorded, having no word: {', '.join(unseen)}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(prog="python3 -m greta.capture", description=__doc__.split("\n")[0])
    parser.add_argument("-m", "--model", "--gguf", required=True, metavar="MODEL",
                        help="a checkpoint's directory or a GGUF, of an architecture that transformers reads")
    parser.add_argument("--dtype", choices=HELD, default="f32", help="of a directory: what the engine computes in")
    command_line.add_arguments(parser)
    parser.add_argument("--out", required=True, help="directory to create")
    parser.add_argument("--layers", default="all", help="all, 0-3 or 0,5,29")
    parser.add_argument("--decode", action="store_true", help="record decode0 too")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager",
                        help="sdpa is torch's fused one: no qk, no softmax")
    parser.add_argument("--ops", action="store_true",
                        help="ops in the place of stages: as of types that are not known")
    args = parser.parse_args()
    try:
        prompt_id, text, tokens = command_line.read_prompt(args)
        if tokens is None:
            tokens = tokenize(args.model, text)
        model = load_model(args.model, args.attention, args.dtype)
        if args.ops or (model.config.get_text_config().model_type not in TYPES):
            return record_ops(model, tokens, args, prompt_id)
        capture(model, tokens, args.out, decode=args.decode, text=text, prompt_id=prompt_id, gguf=args.model,
                layers=command_line.parse_layers(args.layers), manifest={"command_line": " ".join(sys.argv)})
    except (OSError, ValueError) as error:
        sys.exit(f"greta.capture: {error}")


if __name__ == "__main__":
    main()
