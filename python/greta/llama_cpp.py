"""Records llama.cpp's prefill and an aligned decode0 of one prompt as a trace bundle, through llama-cpp-python.

What `greta capture` cannot ask of a program that goes its own way is done here: one graph for the whole prompt, logits
of every token, and the last token once more, alone, at its own position, on a cache whose row for it holds something
else. The nodes are found by the same library, libgreta_capture.so. Needs llama-cpp-python."""

import argparse
import ctypes
import datetime
import importlib.util
import json
import os
import pathlib
import re
import shutil
import sys

from . import command_line

PREFILL, DECODE0 = "prefill", "decode0"
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}  # enum llama_flash_attn_type
CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}  # enum ggml_type


class CaptureError(Exception):
    """One line for the terminal."""


def library_path(given=None):
    """libgreta_capture.so: as given, beside the `greta` on the PATH, or in this repository's build."""
    program = shutil.which("greta")
    beside = [pathlib.Path(program).resolve().parent] if program else []
    repository = pathlib.Path(__file__).parents[2]
    folders = beside + [folder.parent / "lib/greta" for folder in beside] + sorted(repository.glob("build/*"))
    candidates = [pathlib.Path(given)] if given else [folder / "libgreta_capture.so" for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CaptureError(f"{candidates[0] if candidates else 'libgreta_capture.so'} is not there; build GRETA, or say "
                       "where the library is with --library")


def load_capture(path, out, layers):
    """The library, before llama.cpp: whose calls of ggml find the library's functions first, as they are global."""
    if "llama_cpp" in sys.modules:
        raise CaptureError("llama_cpp is imported already: record in a process of its own")
    os.environ["GRETA_CAPTURE_OUT"] = str(pathlib.Path(out).absolute())
    os.environ["GRETA_CAPTURE_LAYERS"] = "" if layers == "all" else layers
    capture = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    capture.greta_capture_phase.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    capture.greta_capture_phase.restype = None
    return capture


class Engine:
    """llama.cpp by llama-cpp-python's low-level functions, of this version or an older one."""

    def __init__(self, gguf, threads):
        import llama_cpp

        self.api = llama_cpp
        self.threads = threads
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)  # kept: ctypes does not
        llama_cpp.llama_log_set(self.quiet, None)
        llama_cpp.llama_backend_init()
        load = self.first("llama_model_load_from_file", "llama_load_model_from_file")
        self.model = load(str(gguf).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise CaptureError(f"llama.cpp cannot load {gguf}")
        get_vocab = getattr(llama_cpp, "llama_model_get_vocab", None)
        self.vocab = get_vocab(self.model) if get_vocab else self.model

    def first(self, *names):
        for name in names:
            if hasattr(self.api, name):
                return getattr(self.api, name)
        raise CaptureError(f"this llama-cpp-python has no {names[0]}()")

    def tokenize(self, text):
        data = text.encode()
        room = (self.api.llama_token * (len(data) + 8))()
        count = self.api.llama_tokenize(self.vocab, data, len(data), room, len(room), True, True)
        if count <= 0:
            raise CaptureError("the prompt has no tokens")
        return list(room[:count])

    def n_vocab(self):
        return self.first("llama_vocab_n_tokens", "llama_n_vocab")(self.vocab)

    def context(self, rows, flash_attention, cache_type):
        """Room for `rows` tokens, which make one graph."""
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = max(512, rows), max(512, rows), max(512, rows)
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = CACHE_TYPES[cache_type]
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = FLASH_ATTENTION[flash_attention]
        else:
            params.flash_attn = flash_attention == "on"
        context = self.first("llama_init_from_model", "llama_new_context_with_model")(self.model, params)
        if not context:
            raise CaptureError("llama.cpp cannot make a context with these options")
        return context

    def decode(self, context, tokens, first):
        """One graph: `tokens` at positions from `first` on; logits of each, as bytes."""
        batch = self.api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, first + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = True
        status = self.api.llama_decode(context, batch)
        self.api.llama_batch_free(batch)
        if status != 0:
            raise CaptureError(f"llama_decode() failed with {status}")
        width = self.n_vocab() * ctypes.sizeof(ctypes.c_float)
        return [ctypes.string_at(self.api.llama_get_logits_ith(context, i), width) for i in range(len(tokens))]

    def forget_from(self, context, position):
        """Frees the cache's rows from `position` on; what they hold stays in memory."""
        if hasattr(self.api, "llama_get_memory"):
            done = self.api.llama_memory_seq_rm(self.api.llama_get_memory(context), 0, position, -1)
        else:
            done = self.first("llama_kv_self_seq_rm", "llama_kv_cache_seq_rm")(context, 0, position, -1)
        if not done:
            raise CaptureError("this model's cache cannot be cut back (a recurrent one?): no aligned decode0")


def run_prompt(engine, context, tokens, phase):
    """Prefill, another text's rows in the place of the last token's, decode0; logits of both."""
    last = len(tokens) - 1
    phase(PREFILL)
    prefill = engine.decode(context, tokens, 0)
    phase("")
    engine.forget_from(context, last)
    # Two tokens, so that they take a prefill's way: a wrong decode would hide itself.
    others = [(tokens[last] + step) % engine.n_vocab() for step in (1000, 2001)]
    engine.decode(context, others, last)
    engine.forget_from(context, last)
    phase(DECODE0)
    return prefill + engine.decode(context, tokens[-1:], last)


def attested(with_capture, without):
    """What became of the logits when nobody looked."""
    wrong = [i for i, (a, b) in enumerate(zip(with_capture, without)) if a != b]
    if not wrong:
        return "equal", f"logits of {len(without)} rows compared with a run without capture: equal bit for bit"
    return "different", (f"logits of {len(wrong)} of {len(without)} rows DIFFER from a run without capture: being looked "
                         "at changes what is computed")


def write_manifest(out, manifest):
    part = out / "manifest.json.tmp"
    part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(part, out / "manifest.json")


def notes_of(log):
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [entry["note"] for entry in map(json.loads, lines) if "note" in entry]


def capture(gguf, out, *, text=None, tokens=None, prompt_id="prompt", layers="all", threads=None,
            flash_attention="auto", cache_type="f16", library=None):
    """Records one prompt, a text or its token ids, in a new directory `out`. Returns the attestation.
    CaptureError, FileExistsError."""
    path = library_path(library)
    if importlib.util.find_spec("llama_cpp") is None:
        raise CaptureError("llama-cpp-python is needed: pip install llama-cpp-python")
    if not pathlib.Path(gguf).is_file():
        raise CaptureError(f"{gguf} is not there")
    if not re.fullmatch(r"all|\d+(-\d+)?", layers):
        raise CaptureError(f"--layers {layers}: use all, a layer (0) or a range (0-3)")
    if tokens is not None and not tokens:
        raise CaptureError("the prompt has no tokens")
    out = pathlib.Path(out)
    out.mkdir(parents=True)
    manifest = {"schema": "greta.trace/1", "engine": "llama.cpp", "complete": False}
    write_manifest(out, manifest)
    (out / "events.jsonl").touch()
    library = load_capture(path, out, layers)
    engine = Engine(gguf, threads or len(os.sched_getaffinity(0)))
    tokens = engine.tokenize(text) if tokens is None else tokens

    def run(recorded):
        context = engine.context(len(tokens) + 1, flash_attention, cache_type)
        try:
            return run_prompt(engine, context, tokens, lambda name: library.greta_capture_phase(
                prompt_id.encode(), (name if recorded else "").encode()))
        finally:
            engine.api.llama_free(context)

    without = run(False)
    attestation, sentence = attested(run(True), without)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    notes = notes_of(out / "capture.jsonl")
    if not manifest.get("prompts"):
        raise CaptureError("nothing was recorded: " + (notes or ["the library saw no graph"])[-1])
    if text is not None:
        manifest["prompts"][0]["text"] = text
    manifest |= {
        "complete": True, "aligned": True, "shared_cache": True, "decode0_row": "other row",
        "threads": engine.threads, "command_line": " ".join(sys.argv),
        "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "options": {"flash_attention": flash_attention,
                    "capture": {"attested": attestation, "attestation": sentence, "notes": notes}}}
    write_manifest(out, manifest)
    for name in ("capture.jsonl", "capture.pid"):
        (out / name).unlink(missing_ok=True)
    return sentence


def main():
    parser = argparse.ArgumentParser(prog="python3 -m greta.llama_cpp", description=__doc__.split("\n")[0])
    parser.add_argument("--gguf", required=True, help="the model")
    command_line.add_arguments(parser)
    parser.add_argument("--out", required=True, help="directory to create")
    parser.add_argument("--layers", default="all", help="all, 0 or 0-3")
    parser.add_argument("--flash-attention", choices=FLASH_ATTENTION, default="auto")
    parser.add_argument("--cache-type", choices=CACHE_TYPES, default="f16", help="of keys and values")
    parser.add_argument("--threads", type=int, help="default: the cores that this process may use")
    parser.add_argument("--library", help="libgreta_capture.so, where it is not found by itself")
    args = parser.parse_args()
    options = {"layers": args.layers, "threads": args.threads, "flash_attention": args.flash_attention,
               "cache_type": args.cache_type, "library": args.library}
    try:
        prompt_id, text, tokens = command_line.read_prompt(args)
        sentence = capture(args.gguf, args.out, text=text, tokens=tokens, prompt_id=prompt_id, **options)
        print(f"greta.llama_cpp: {sentence}\nnext: greta diagnose {args.out} -m {args.gguf}")
    except (CaptureError, OSError, ValueError) as error:
        sys.exit(f"greta.llama_cpp: {error}")


if __name__ == "__main__":
    main()
