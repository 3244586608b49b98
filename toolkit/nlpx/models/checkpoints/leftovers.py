"""What the tensors that no parameter uses mean: heads nobody asked for, layers beyond the configuration, or a part of
the computation that the model would silently lack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from nlpx.models import heads
from nlpx.models.checkpoints.names import NameMap, Names
from nlpx.models.config import ModelConfig
from nlpx.models.load_report import LoadReport

# Our parameters that a model may lack although its checkpoint stores them.
HEADS = (*(head.attribute for head in heads.HEADS.values()), "pooler")
OF_DECODERS = ("decoder.*", "shared.*")  # harmless beside an encoder
# Heads of tasks nobody loads here, and what training leaves behind.
HARMLESS = (
    *("cls.*", "cls/*", "classifier*", "*qa_outputs*", "*predictions*", "*seq_relationship*", "*pooler*", "lm_head.*"),
    *("vocab_*", "head.*", "mlm_head*", *OF_DECODERS),  # of transformers' other families
    *("output_weights", "output_bias", "loss/*", "score.*", "mlm*", "nsp*", "*crf*", "sequence_summary.*"),
    "*.attention.features.*",  # random ones of a Performer: drawn, never learned
    *("*global_step*", "*adam_*", "*Adam*", "*_power", "*optimizer*", "*num_batches_tracked", "*position_ids"),
    "*_slot_*",  # of T5's optimizer
)
_LAYER = r"(?P<layer>\d+)"
_PLACE_OF_LAYER = re.compile(r"\\\{i[^}]*\}")  # `{i}` or `{i:0>3}`, as `re.escape` leaves it


def judge(report: LoadReport, tensors: NameMap, config: ModelConfig) -> None:
    """Sort `report.unexpected` into heads, layers beyond the last and `unexplained`, each named once."""
    known, harmless = list(_patterns(tensors)), _harmless(config)
    num_layers = {"encoder": config.num_layers, "decoder": config.num_decoder_layers}
    beyond: dict[str, set[int]] = {"encoder": set(), "decoder": set()}
    for name in report.unexpected:
        part, layer = _part_of(name, known)
        stack = "decoder" if part is not None and part.startswith("decoder.") else "encoder"
        if stack == "decoder" and not config.is_encoder_decoder:
            continue  # the encoder alone is wanted
        if layer is not None and layer >= num_layers[stack]:
            beyond[stack].add(layer)
        elif part is None or not part.startswith(HEADS):
            report.unexplained += [] if any(fnmatch(name, pattern) for pattern in harmless) else [name]
    for stack, layers in beyond.items():
        if layers:
            report.alerts.append(_fewer_layers(tensors.checkpoint.path, max(layers) + 1, num_layers[stack]))


def _harmless(config: ModelConfig) -> list[str]:
    return [pattern for pattern in HARMLESS if not (config.is_encoder_decoder and pattern in OF_DECODERS)]


def judge_foreign(report: LoadReport, path: Path, num_layers: int | None) -> None:
    """The same for a model of transformers, whose names are known by their endings only."""
    layers = set()
    for name in report.unexpected:
        if name.startswith("decoder."):  # of a model such as T5, whose encoder alone is taken
            continue
        found = re.search(rf"(?:^|\.)(?:layers?|h|blocks?)\.{_LAYER}\.", name)
        if found and num_layers is not None and int(found["layer"]) >= num_layers:
            layers.add(int(found["layer"]))
        elif not any(fnmatch(name, pattern) for pattern in HARMLESS):
            report.unexplained.append(name)
    if layers:
        report.alerts.append(_fewer_layers(path, max(layers) + 1, num_layers))


def _fewer_layers(path: Path, stored: int, taken: int | None) -> str:
    return f"{path} stores {stored} layers, the configuration takes {taken}: the rest is left out"


def _part_of(name: str, known: list[tuple[str, re.Pattern[str]]]) -> tuple[str | None, int | None]:
    """Our parameter that a tensor belongs to, and its layer."""
    for ours, pattern in known:
        if found := pattern.fullmatch(name):
            layer = found.groupdict().get("layer")
            return ours, None if layer is None else int(layer)
    return None, None


def _patterns(tensors: NameMap) -> Iterator[tuple[str, re.Pattern[str]]]:
    if not tensors.table:  # our own names
        yield "layers", re.compile(rf"(?:encoder\.)?layers\.{_LAYER}\..*")
        yield "decoder.layers", re.compile(rf"decoder\.layers\.{_LAYER}\..*")
        yield "decoder.", re.compile(r"decoder\..*")
        for head in HEADS:
            yield head, re.compile(rf"{head}\..*")
        return
    table: Mapping[str, Names] = tensors.table
    for ours, names in table.items():
        for text in names.torch if tensors.checkpoint.layout == "torch" else names.tensorflow:
            path = _PLACE_OF_LAYER.sub(lambda _: _LAYER, re.escape(text.removeprefix(tensors.prefix)))
            prefix = f"(?:{re.escape(tensors.prefix)})?" if text.startswith(tensors.prefix) else ""
            yield ours, re.compile(rf"{prefix}{path}(?:[./](?:weight|bias|gamma|beta|kernel))?")
