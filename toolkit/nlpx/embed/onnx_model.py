"""An encoder that ONNX Runtime computes, behind the call of our `Transformer`; `onnx_export` writes its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from nlpx.errors import InputError, MachineError, UsageError, install_hint, reason_of
from nlpx.models.checkpoints.checkpoint import CONFIG_NAMES, ONNX_MODEL_TYPE, parse_config
from nlpx.models.config import ModelConfig
from nlpx.models.encoder import ModelOutput
from nlpx.train.config import Precision

GRAPH = "model.onnx"
INPUTS = ("input_ids", "token_type_ids", "attention_mask")
STATES = ("first_hidden_state", "last_hidden_state")  # of the first and of the last block, (B, T, D)
POOLER = "pooler"  # the linear map of the pooler, (B, D); a graph may lack it
AGAIN = "copy it again, or convert the checkpoint again"
QUIET = 4  # what is wrong comes as an error too; ONNX Runtime would print it on top of that


def is_onnx(path: Path) -> bool:
    """Whether this is a directory that `export_onnx` wrote."""
    file = path / CONFIG_NAMES[0]
    return file.is_file() and parse_config(file).get("model_type") == ONNX_MODEL_TYPE


class OnnxModel(nn.Module):
    """A graph and the facts beside it. It runs on the CPU, with as many threads as torch has."""

    def __init__(self, path: Path) -> None:
        """Raises `InputError` for a directory whose graph or configuration is not as it was written, `MachineError`
        without the extra `onnx`.
        """
        super().__init__()
        self.path = path
        self.config, self.precision, self.num_positions = read_facts(path)
        self.session = _session(path / GRAPH)
        widths = {output.name: output.shape[-1:] for output in self.session.get_outputs()}
        inputs = {entry.name for entry in self.session.get_inputs()}
        if not inputs <= {*INPUTS} or any(widths.get(name) != [self.config.hidden_size] for name in STATES):
            raise InputError(f"{path / GRAPH}: not the graph that nlpx wrote with {CONFIG_NAMES[0]}", hint=AGAIN)
        self.has_pooler = POOLER in widths
        self.names = [*STATES, *([POOLER] if self.has_pooler else [])]

    @classmethod
    def load(cls, path: Path, *, precision: Precision = "auto") -> Self:
        """As the constructor; raises `UsageError` for a precision that the graph is not written in."""
        model = cls(path)
        if precision not in ("auto", model.precision):
            hint = "without --precision it is taken as it is; the checkpoint it was converted from has the others"
            raise UsageError(f"{path}: an ONNX graph in {model.precision}, not in {precision}", hint=hint)
        return model

    def forward(self, token_ids: Tensor, *, attention_mask: Tensor | None = None, **_: Any) -> ModelOutput:
        """First and last states (B, T, D) of ids (B, T); mask and poolings are the graph's own.

        Raises `InputError` if the graph cannot be computed.
        """
        mask = torch.ones_like(token_ids) if attention_mask is None else attention_mask.long()
        given = dict(zip(INPUTS, (token_ids, torch.zeros_like(token_ids), mask), strict=True))
        try:
            found = self.session.run(self.names, {name: tensor.numpy() for name, tensor in given.items()})
        except Exception as error:  # its errors share no class of their own
            raise InputError(f"{self.path / GRAPH}: ONNX Runtime cannot compute it ({reason_of(error)})") from None
        first, last, *pooled = map(torch.from_numpy, found)
        return ModelOutput(last, (first,), pooled=pooled[0] if pooled else None)


def read_facts(path: Path) -> tuple[ModelConfig, str, int | None]:
    """Configuration, precision, and the number of its positions (None: any), from the file beside the graph.

    Raises `InputError` if they are not as they were written.
    """
    facts = parse_config(path / CONFIG_NAMES[0])
    try:
        num_positions = facts["num_positions"]
        limit = None if num_positions is None else int(num_positions)
        return ModelConfig(**facts["config"]), str(facts["dtype"]), limit
    except (ValidationError, KeyError, TypeError, ValueError):
        raise InputError(f"{path / CONFIG_NAMES[0]}: not as nlpx wrote it", hint=AGAIN) from None


def _session(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MachineError("running ONNX needs the extra `onnx`", hint=install_hint("onnx")) from None
    if not file.is_file():
        raise InputError(f"{file}: no such file", hint=AGAIN)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_mem_pattern = False  # a plan is kept for every shape of a batch, and there are hundreds
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class of their own
        message = f"{file}: truncated or not an ONNX file ({reason_of(error)})"
        raise InputError(message, hint=AGAIN) from None
