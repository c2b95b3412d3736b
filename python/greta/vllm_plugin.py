"""Records what vLLM computes, in its own processes: a plugin (entry point vllm.general_plugins) that does nothing
unless GRETA_VLLM_OUT names a directory.

    GRETA_VLLM_OUT=dump vllm serve MODEL --enforce-eager ...
    greta import vllm dump -m MODEL --out trace
    greta diagnose trace -m MODEL

Each process writes DIR/tpT-ppP/passN.safetensors: the outputs of the modules of a forward pass, as they are held, and
in the file's metadata which rows are whose. GRETA_VLLM_LAYERS=0-3: those layers alone; GRETA_VLLM_PASSES=N: so many
passes (default 16).
"""

import functools
import json
import os
import pathlib
import sys

from .command_line import parse_layers

# Parts of a layer that are written; of attn and of norms before a block also what goes in.
MODULES = ("qkv_proj", "q_norm", "k_norm", "attn", "o_proj", "gate_up_proj", "act_fn", "down_proj", "gate")
MORE_OUTSIDE = ("model.embed_tokens", "model.norm", "logits_processor")


def say(text):
    print(f"greta: {text}", file=sys.stderr, flush=True)


def register():
    """What vLLM calls in each of its processes."""
    if os.environ.get("GRETA_VLLM_OUT"):
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # the CPU's runner is one, too

        watch(GPUModelRunner)


def watch(runner_class):
    """Wraps execute_model, which knows whose rows are computed."""
    if hasattr(runner_class, "_greta_watched"):
        return
    runner_class._greta_watched = True
    execute = runner_class.execute_model

    @functools.wraps(execute)
    def execute_model(self, scheduler_output, *args, **kwargs):
        recorder = vars(self).get("_greta_recorder")
        if recorder is None and not hasattr(self, "_greta_refused"):
            recorder = self._greta_recorder = recorder_of(self)
        if recorder is None:
            return execute(self, scheduler_output, *args, **kwargs)
        recorder.begin(scheduler_output)
        out = execute(self, scheduler_output, *args, **kwargs)
        recorder.end(self.input_batch.req_ids, scheduler_output.num_scheduled_tokens)
        return out

    runner_class.execute_model = execute_model


def recorder_of(runner):
    """None, with a word why, where nothing can be seen."""
    try:
        if not runner.model_config.enforce_eager:
            raise ValueError("compiled graphs show no modules; start vLLM with --enforce-eager")
        return Recorder(runner)
    except (OSError, ValueError) as error:
        runner._greta_refused = True
        say(f"nothing is recorded: {error}")
        return None


class Recorder:
    def __init__(self, runner):
        from vllm.distributed import get_pp_group, get_tensor_model_parallel_rank

        folder = f"tp{get_tensor_model_parallel_rank()}-pp{get_pp_group().rank_in_group}"
        self._folder = pathlib.Path(os.environ["GRETA_VLLM_OUT"]) / folder
        self._folder.mkdir(parents=True)
        self._layers = parse_layers(os.environ.get("GRETA_VLLM_LAYERS", "all"))
        self._most = int(os.environ.get("GRETA_VLLM_PASSES", "16"))
        self._count, self._core, self._tensors = 0, None, {}
        model = runner.get_model() if hasattr(runner, "get_model") else runner.model
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        hooked = [self._hook(name, module) for name, module in model.named_modules()]
        say(f"records {sum(hooked)} modules of vLLM in {self._folder}, of {self._most} passes")

    def _hook(self, name, module):
        # A part of a larger model (language_model.model.layers...) is told by its end.
        own = name[name.find("model."):] if "model." in name else name
        parts = own.split(".")
        in_layer = len(parts) > 3 and parts[1] == "layers" and parts[2].isdigit()
        if in_layer and self._layers is not None and int(parts[2]) not in self._layers:
            return False
        norm = len(parts) == 4 and parts[3].endswith("layernorm")
        if not (own in MORE_OUTSIDE or (in_layer and (norm or parts[-1] in MODULES))):
            return False
        if in_layer and (norm or parts[-1] == "attn"):
            module.register_forward_pre_hook(lambda _, args: self._keep(own + ".inputs", args))
        module.register_forward_hook(lambda _, args, out: self._keep(own, out if isinstance(out, tuple) else (out,)))
        return True

    def _keep(self, name, values):
        if self._core is None:
            return
        tensors = [value for value in values if hasattr(value, "detach")]
        for at, tensor in enumerate(tensors):  # a copy: norms write into what they are given
            self._tensors[f"{name}/{at}"] = tensor.detach().to("cpu", copy=True).contiguous()

    def _begin(self, _, args, kwargs):
        if self._core is not None:
            named = dict(zip(("input_ids", "positions"), args)) | kwargs
            for name in ("input_ids", "positions"):
                if named.get(name) is not None:
                    self._core[name] = named[name].detach().cpu().reshape(-1).tolist()

    def begin(self, scheduled):
        if self._count < self._most and scheduled.total_num_scheduled_tokens > 0:
            self._core, self._tensors = {}, {}

    def end(self, order, counts):
        """The batch has its order now: which request has how many rows."""
        core, self._core = self._core, None
        if core is None or "positions" not in core or not self._tensors:
            return
        from safetensors.torch import save_file

        requests = [(name, counts[name]) for name in order if name in counts]
        rows = sum(count for _, count in requests)  # what is beyond is padding
        core = {name: values[:rows] for name, values in core.items()}
        path = self._folder / f"pass{self._count:05}.safetensors"
        about = {"rows": rows, "requests": requests, **core}
        save_file(self._tensors, str(path) + ".part", metadata={"greta": json.dumps(about)})
        os.replace(str(path) + ".part", path)
        self._count, self._tensors = self._count + 1, {}
        if self._count == self._most:
            say(f"{self._most} passes are recorded; GRETA_VLLM_PASSES=N records more")
