"""What a prompt is told by on a command line: the same of every capture."""

import pathlib


def add_arguments(parser):
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt-file", help="a text; its name is the prompt's id")
    prompt.add_argument("--tokens", help="token ids: 1,2,3")


def read(args):
    """Its id, its text or None, its tokens or None."""
    if args.tokens is not None:
        return "tokens", None, [int(token) for token in args.tokens.split(",")]
    file = pathlib.Path(args.prompt_file)
    return file.stem, file.read_text(encoding="utf-8"), None
