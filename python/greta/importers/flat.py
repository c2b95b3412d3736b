"""Passes of a serving engine -> a bundle: what the importers of vLLM and SGLang have alike."""

from ..bundle import BundleWriter
from ..model_shape import describe, of_path
from ..serving import FlatRun, Reader
from . import Unreadable


def write_flat(path, out, args, engine, passes):
    """passes: ([module -> [(rows, format)] of each tensor-parallel rank], core) each; core has positions, and may have
    input_ids, seq_lens and requests, (name, rows) each. Notes."""
    if args.model is None:
        raise ValueError(f"-m MODEL is needed: the directory or GGUF file of the model that {engine} served; a dump "
                         "does not say how many heads it has")
    shape, passes = of_path(args.model), iter(passes)
    first = next(passes, None)
    if first is None:
        raise Unreadable(f"{path}: no forward pass is there")
    writer = BundleWriter(out, {"engine": engine, "model": describe(shape, args.model), "aligned": False, "kernels": {},
                                "options": {"import": engine, "ranks": len(first[0])}})
    run = FlatRun(writer, Reader(shape, args.rope_rows), engine, layers=args.layers, steps=args.steps,
                  requests=args.prompts)
    add_pass(run, *first)
    for modules, core in passes:
        add_pass(run, modules, core)
    run.close()
    writer.close(complete=True)
    return run.notes


def add_pass(run, modules, core):
    def parts(rank, at):
        return {name: [output[at] for output in outputs] for name, outputs in rank.items()}

    stages = run.reader.stages([parts(rank, 0) for rank in modules])
    dtypes = run.reader.formats(parts(modules[0], 1))
    if logits := modules[0].get("logits_processor"):
        stages[-1, "logits"], dtypes[-1, "logits"] = logits[0]
    run.add_pass(stages, core["positions"], lengths=core.get("seq_lens"), ids=core.get("input_ids"),
                 named=core.get("requests"), dtypes=dtypes)
