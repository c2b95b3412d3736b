"""What is told on a command line: the same of every capture."""

import pathlib


def add_arguments(parser):
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt-file", help="a text; its name is the prompt's id")
    prompt.add_argument("--tokens", help="token ids: 1,2,3")


def read_prompt(args):
    """Its id, its text or None, its tokens or None."""
    if args.tokens is not None:
        return "tokens", None, [int(token) for token in args.tokens.split(",")]
    file = pathlib.Path(args.prompt_file)
    return file.stem, file.read_text(encoding="utf-8"), None


def parse_layers(text):
    """all -> None, 0-3 -> [0, 1, 2, 3], 0,5 -> [0, 5]. ValueError for anything else."""
    if text == "all":
        return None
    try:
        spans = [[int(n) for n in part.split("-")] for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers {text}: use all, a layer (0) or a range (0-3)") from None
    return [layer for span in spans for layer in range(span[0], span[-1] + 1)]
