"""Makes a bundle of another tool's dump: `greta import` runs this.

    greta import sglang DUMP -m MODEL --out DIR
    greta diagnose DIR -m MODEL
"""

import argparse
import importlib
import pathlib
import shutil
import sys

from ..command_line import parse_layers

IMPORTERS = [importlib.import_module(f"{__package__}.{name}")
             for name in ("sglang", "vllm", "flashinfer", "edge_llm", "npy")]


def parser_of():
    parser = argparse.ArgumentParser(
        prog="greta import", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__.split("\n")[0],
        epilog="formats:\n" + "".join(f"  {one.NAME:<12}{one.ABOUT}\n" for one in IMPORTERS) +
        "  auto        the first of these that knows it\n\nExample: greta import sglang dump -m model --out trace")
    parser.add_argument("format", metavar="FORMAT", choices=[*(one.NAME for one in IMPORTERS), "auto"])
    parser.add_argument("path", metavar="PATH", help="the dump: mostly a directory")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to create")
    parser.add_argument("--force", action="store_true", help="replace the bundle in --out")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the model that ran: a directory or a GGUF file")
    parser.add_argument("--layers", default="all", help="all, a layer (0) or a range (0-3)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of one token to take, of each request")
    parser.add_argument("--prompts", type=int, metavar="N", help="requests to take, from the first")
    parser.add_argument("--ranks", type=int, metavar="N", help="tensor-parallel ranks that there must be")
    parser.add_argument("--rope-rows", choices=("pairs", "halves"),
                        help="order of the model's rows of Wq and Wk; default: by its type")
    for one in IMPORTERS:
        one.add_arguments(parser)
    return parser


def importer_of(args):
    if args.format != "auto":
        return next(one for one in IMPORTERS if one.NAME == args.format)
    for one in IMPORTERS:
        if one.recognises(args.path):
            return one
    raise ValueError(f"{args.path}: no dump that is known: {', '.join(one.NAME for one in IMPORTERS)}")


def run(args):
    if not pathlib.Path(args.path).exists():
        raise ValueError(f"{args.path}: is not there")
    args.layers = parse_layers(args.layers)
    importer, out = importer_of(args), pathlib.Path(args.out)
    if args.format != "auto" and not importer.recognises(args.path):
        raise ValueError(f"{args.path}: no dump of {importer.NAME} ({importer.ABOUT})")
    if out.exists() and not (args.force and (out / "manifest.json").is_file()):
        raise ValueError(f"{out} is there: name another directory" + ("" if args.force else ", or give --force"))
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        notes = importer.load(args.path, part, args)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for note in notes:
        print(f"greta: note: {note}", file=sys.stderr)
    count = len((out / "events.jsonl").read_text(encoding="utf-8").splitlines())
    print(f"greta: {count} events in {out}", file=sys.stderr)


def main():
    args = parser_of().parse_args()
    try:
        run(args)
    except (OSError, ValueError, ImportError) as error:
        print("greta: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
