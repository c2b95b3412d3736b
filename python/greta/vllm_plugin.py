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
    """Wraps load_model, where the modules come from, and execute_model, which knows whose rows are computed."""
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
        with recorder.passing(self, scheduler_output):
            return execute(self, scheduler_output, *args, **kwargs)

    runner_class.execute_model = execute_model
    sample = getattr(runner_class, "sample_tokens", None)
    if sample is not None:  # logits may be computed in either

        @functools.wraps(sample)
        def sample_tokens(self, *args, **kwargs):
            recorder = vars(self).get("_greta_recorder")
            out = sample(self, *args, **kwargs)
            if recorder is not None:
                recorder.finish()
            return out

        runner_class.sample_tokens = sample_tokens


def recorder_of(runner):
    """None, with a word why, where nothing can be seen."""
    if not runner.model_config.enforce_eager:
        runner._greta_refused = True
        say("nothing is recorded: compiled graphs show no modules; start vLLM with --enforce-eager")
        return None
    return Recorder(runner)


class Recorder:
    def __init__(self, runner):
        from vllm.distributed import get_pp_group, get_tensor_model_parallel_rank

        folder = f"tp{get_tensor_model_parallel_rank()}-pp{get_pp_group().rank_in_group}"
        self._folder = pathlib.Path(os.environ["GRETA_VLLM_OUT"]) / folder
        self._folder.mkdir(parents=True)
        self._layers = parse_layers(os.environ.get("GRETA_VLLM_LAYERS", "all"))
        self._most = int(os.environ.get("GRETA_VLLM_PASSES", "16"))
        self._count, self._core, self._tensors, self._seen = 0, None, {}, {}
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

    def passing(self, runner, scheduled):
        return Pass(self, runner, scheduled)

    def start(self, runner, scheduled):
        self.finish()
        if self._count < self._most and scheduled.total_num_scheduled_tokens > 0:
            self._core, self._tensors = {}, {}

    def ran(self, runner, scheduled):
        """The batch is in order now: which request has how many rows."""
        if self._core is None:
            return
        counts = scheduled.num_scheduled_tokens
        self._core["requests"] = [(name, counts[name]) for name in runner.input_batch.req_ids if name in counts]
        if not hasattr(type(runner), "sample_tokens"):
            self.finish()

    def finish(self):
        if self._core is None:
            return
        core, self._core = self._core, None
        if "positions" not in core or not self._tensors:
            return
        from safetensors.torch import save_file

        rows = sum(count for _, count in core["requests"])  # what is beyond is padding
        core = {**core, **{name: core[name][:rows] for name in ("input_ids", "positions") if name in core}}
        path = self._folder / f"pass{self._count:05}.safetensors"
        save_file(self._tensors, str(path) + ".part", metadata={"greta": json.dumps({"rows": rows, **core})})
        os.replace(str(path) + ".part", path)
        self._count, self._tensors = self._count + 1, {}
        if self._count == self._most:
            say(f"{self._most} passes are recorded; GRETA_VLLM_PASSES=N records more")


class Pass:
    """Around one execute_model()."""

    def __init__(self, recorder, runner, scheduled):
        self._recorder, self._of = recorder, (runner, scheduled)

    def __enter__(self):
        self._recorder.start(*self._of)

    def __exit__(self, kind, error, trace):
        if kind is None:
            self._recorder.ran(*self._of)
