"""An encoder as an ONNX graph in a directory that stands alone, in float32 or with matrices of 8-bit integers."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlpx import __version__
from nlpx.embed.onnx_model import GRAPH, INPUTS, POOLER, STATES
from nlpx.errors import InputError, MachineError, install_hint
from nlpx.io import write_atomically, write_json
from nlpx.models.checkpoints.checkpoint import ONNX_MODEL_TYPE
from nlpx.models.positions import PositionEmbeddings, hierarchical_rows
from nlpx.models.transformer import Transformer

GraphType = Literal["float32", "int8"]

PACKAGES = {"float32": ("onnx", "onnxscript"), "int8": ("onnx", "onnxscript", "onnxruntime.quantization")}
NUM_POSITIONS = 2048  # where tables end in a graph that outside of one grow with the text
MAX_BYTES = 2_000_000_000  # protobuf, of which the file is made, ends at 2 GiB


class States(nn.Module):
    """What a graph computes: ids, segments and mask (B, T) to states (B, T, D), and the pooler's map (B, D)."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of `STATES` and `POOLER`."""
        # As a tensor: the model then does not test whether a batch has padding, which a graph could not do.
        visible = attention_mask.to(torch.bool)[:, None, :]
        if self.model.config.mask == "causal":
            order = torch.arange(input_ids.shape[1])
            visible = visible & (order[None, :] <= order[:, None])
        output = self.model(input_ids, token_type_ids, mask=visible, return_hidden_states=True)
        states = output.hidden_states[0], output.last_hidden_state
        pooler = self.model.pooler
        return states if pooler is None else (*states, pooler.dense(output.last_hidden_state[:, 0]))


def export_onnx(model: Transformer, directory: Path, *, dtype: GraphType = "float32") -> None:
    """Write `model.onnx` and `config.json`; the model's tables are changed for it, so it should not be used again.

    With `int8`, matrices are stored as 7-bit integers with one scale a column, and what they are multiplied with
    is rounded to 8 bits as it comes (ONNX Runtime's dynamic quantization): 7 bits, so that sums of two products fit
    into 16 on processors without VNNI and vectors are the same on all.

    Raises `InputError` for a model that no graph can hold, `MachineError` without the extra `onnx`.
    """
    _require(PACKAGES[dtype])
    _refuse(model)
    num_positions = _end_tables(model)
    program = _traced(model.eval())
    directory.mkdir(parents=True, exist_ok=True)
    with write_atomically(directory / GRAPH) as temporary:
        if dtype == "int8":
            _quantize(program, temporary)
        else:
            temporary.write_bytes(program.SerializeToString())
    config = {"config": model.config.with_choices(heads=()).model_dump(mode="json"), "num_positions": num_positions}
    kind = {"model_type": ONNX_MODEL_TYPE, "nlpx_version": __version__, "dtype": dtype}
    write_json(directory / "config.json", kind | config)


def _require(packages: tuple[str, ...]) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise MachineError("writing ONNX needs the extra `onnx`", hint=install_hint("onnx")) from None


def _refuse(model: Transformer) -> None:
    if model.config.attention == "performer":
        hint = "the same weights with softmax attention: --set attention=softmax"
        raise InputError("attention `performer` has no counterpart in an ONNX graph", hint=hint)
    num_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    if num_bytes > MAX_BYTES:
        raise InputError(f"{num_bytes / 1e9:.1f} GB of weights do not fit into model.onnx, which ends at 2 GB")


def _end_tables(model: Transformer) -> int | None:
    """Extend position tables of any length for a graph; returns the number of its positions, None: any."""
    if model.rotary is not None:
        length = max(NUM_POSITIONS, model.config.max_position_embeddings)
        model.rotary.tables(torch.arange(length)[None], length)
        return length
    table = model.embeddings.position_embeddings
    if table is not None and table.alpha is not None:
        length = min(NUM_POSITIONS, table.max_length)
        written = PositionEmbeddings(length, table.weight.shape[1])
        written.weight = nn.Parameter(hierarchical_rows(table.weight.detach(), length, table.alpha))
        model.embeddings.position_embeddings = table = written
    return None if table is None else table.max_length


def _traced(model: Transformer) -> Any:
    """The graph as protobuf, for any number of texts of any length."""
    ids = torch.zeros(2, 3, dtype=torch.long)  # neither size is 1, which the exporter would take for a constant
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            States(model),
            (ids, torch.zeros_like(ids), torch.ones_like(ids)),  # three tensors: one given twice would be one input
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=[*STATES, *([] if model.pooler is None else [POOLER])],
            dynamic_shapes=(any_size,) * len(INPUTS),
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in which file each came from, on the machine that wrote it
    return program.model_proto


def _quantize(program: Any, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            program,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences exporter and quantizer, whose messages are for their developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
