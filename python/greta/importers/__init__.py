"""Dumps of other tools as trace bundles (docs/capture.md): each importer is a module with

NAME, ABOUT -- its name on the command line, and what it reads in few words
recognises(path) -> bool -- whether what lies there is of its kind
add_arguments(parser), load(path, out, args) -> list of notes -- ValueError and OSError for what it cannot read

torch is needed for .pt files alone.
"""


class Unreadable(ValueError):
    """What lies there is not what it says it is; the message names the file."""


def torch_load(path):
    """What torch.save() wrote, without running anything that it holds. Unreadable."""
    try:
        import torch
    except ImportError:
        raise Unreadable(f"{path}: a file of torch: pip install torch") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # pickles fail in many ways
        raise Unreadable(f"{path}: torch cannot read it: {str(error).splitlines()[0][:200]}") from None


FORMATS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64", "int64": "i64", "int32": "i32",
           "int16": "i16", "int8": "i8", "uint8": "u8"}


def values_of(tensor):
    """A torch tensor -> (f32 values, the format that it is held in)."""
    return tensor.detach().cpu().float().numpy(), FORMATS.get(str(tensor.dtype).removeprefix("torch."), "f32")
