"""`load_model`: any checkpoint of the family, or another encoder through transformers, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nlpx.errors import InputError, UsageError, warn
from nlpx.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from nlpx.models.checkpoints.family import recognise, special_token_ids
from nlpx.models.checkpoints.head_evidence import foreign_head, refusal, without_classifier
from nlpx.models.checkpoints.leftovers import judge
from nlpx.models.checkpoints.names import NameMap, OwnNames
from nlpx.models.checkpoints.prefixed import Prefixed, without_prefix
from nlpx.models.checkpoints.resolve import resolve
from nlpx.models.checkpoints.save import read_own
from nlpx.models.checkpoints.traps import warnings_for
from nlpx.models.checkpoints.weights import Assembler, CompoundToken, RowChoices, decoder_is_tied
from nlpx.models.config import ModelConfig
from nlpx.models.encoder import Encoder
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.initialisation import Undrawn
from nlpx.models.load_report import LoadReport
from nlpx.models.transformer import Transformer

HEADS = ("mlm", "lm", "classification", "pooler", "discriminator", "sentence", "pair")


@dataclass(frozen=True, slots=True)
class Described:
    """A checkpoint and what it holds, before any weight is read."""

    checkpoint: Checkpoint
    config: ModelConfig
    tensors: NameMap
    reason: str
    foreign_head: str | None = None  # what a stored head is that is none of ours


def load_model(
    path_or_name: str | Path,
    family: str | None = None,
    head: str | None = None,
    *,
    allow_partial: Sequence[str] = (),
    keep_tokens: Sequence[int] | None = None,
    compound_tokens: Sequence[CompoundToken] | None = None,
    allow_unexplained: bool = False,
    **choices: Any,
) -> Any:
    """Load a checkpoint directory, file or hub name as a `Transformer` in evaluation mode.

    `head` is one of mlm, lm, classification, pooler, discriminator, sentence; None keeps the encoder and its pooler.
    A checkpoint with a decoder (T5) is an `EncoderDecoder` with the head `lm`, else its encoder alone.
    `choices` change the configuration (`position="hierarchical"`, `condition_size=128`, `share_layers="none"`, ...).
    `keep_tokens` (old ids) and `compound_tokens` (lists of kept ids, or (ids, weights)) change the rows of the word
    table and of what is tied to it. `allow_partial` lists patterns of parameters that may be missing.
    A stored tensor that is no head and no layer beyond the last is refused, for the model would lack a part of its
    computation; with `allow_unexplained` it is only reported. The model carries `load_report`. Encoders of other
    families load through transformers, without choices.
    Raises `InputError` for anything wrong with the checkpoint, `UsageError` for a wrong choice.
    """
    if head is not None and head not in HEADS:
        raise UsageError(f"unknown head `{head}`", hint=f"heads: {', '.join(HEADS)}")
    path = resolve(path_or_name)
    described = describe(path, family)
    if described is None:
        from nlpx.models.checkpoints.backbone import Backbone

        backbone = Backbone.load(path, head=head, choices=choices)
        _judge(path, backbone.load_report or LoadReport("", ""), allow_unexplained)
        return backbone
    if head == "classification" and described.foreign_head and "num_labels" not in choices:
        raise refusal(described.checkpoint, described.foreign_head)  # no new one was asked for
    rows = RowChoices(keep_tokens, compound_tokens)
    config = _choose(described, head, rows, choices)
    model, report = _loaded(config, described, allow_partial=allow_partial, rows=rows)
    _judge(path, report, allow_unexplained)
    return model.eval()


def build(config: ModelConfig) -> Transformer | EncoderDecoder:
    """The new model of a configuration."""
    return EncoderDecoder(config) if config.is_encoder_decoder else Transformer(config)


def _loaded(
    config: ModelConfig, described: Described, **options: Any
) -> tuple[Transformer | EncoderDecoder, LoadReport]:
    """A model whose parameters are the checkpoint's tensors themselves. Only what the checkpoint lacks is drawn."""
    with Undrawn():
        model = build(config)
    report = fill(model, described, assign=True, **options)
    model.initialise({*report.new, *report.missing})
    model.load_report = report
    return model, report


def load_trained(directory: Path) -> Encoder:
    """A checkpoint that a run has written, with every part it was trained with, in evaluation mode.

    Raises `InputError` for one that lacks any of them: nothing starts at random.
    """
    described = describe(directory)
    if described is None:
        from nlpx.models.checkpoints.backbone import Backbone

        return Backbone.load_own(directory)
    model, report = _loaded(described.config, described, fresh=False)
    _judge(directory, report, False)
    return model.eval()


def fill(
    model: Transformer | EncoderDecoder,
    described: Described,
    *,
    allow_partial: Sequence[str] = (),
    rows: RowChoices | None = None,
    check_only: bool = False,
    fresh: bool = True,
    assign: bool = False,
) -> LoadReport:
    """Load the checkpoint into a model of a fitting configuration.

    `check_only` compares but keeps nothing; without `fresh` no part may start anew, not even a classifier; `assign`
    puts the tensors in place of the parameters, without a copy.
    """
    report = LoadReport(model.config.family, described.reason)
    if isinstance(described.checkpoint, Prefixed):
        report.alerts.append(described.checkpoint.sentence())
    assembler = Assembler(model, described.tensors, report, rows or RowChoices())
    assembler.fill(allow_partial, check_only=check_only, fresh=fresh, assign=assign)
    judge(report, described.tensors, model.config)
    report.warnings = warnings_for(described, model.config)
    if report.unexplained:
        report.warnings.append(
            f"no part of the model that the configuration describes: {shortened(report.unexplained)}"
        )
    return report


def _judge(path: Path, report: LoadReport, allow_unexplained: bool) -> None:
    """Refuse what the model would silently lack, and warn of what every command should show."""
    if report.unexplained and not allow_unexplained:
        raise InputError(
            f"{path}: {shortened(report.unexplained)}: no part of the model that the configuration describes, "
            "so its outputs would be others",
            hint="is the configuration that of these weights? nlpx inspect lists all tensors",
        )
    for sentence in report.alerts:
        warn(sentence)


def shortened(names: Sequence[str], limit: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - limit} more tensors" if len(names) > limit else ""
    return ", ".join(f"`{name}`" for name in names[:limit]) + more


def describe(path: Path, family: str | None = None) -> Described | None:
    """What a checkpoint is; None if it is none of our families. Raises `InputError` if it cannot be read."""
    checkpoint = open_checkpoint(path)
    own = read_own(checkpoint)
    checkpoint = checkpoint if own is not None else without_prefix(checkpoint)
    if own is not None:
        config = _validated(checkpoint, own)
        shared = config.share_layers == "all"
        return Described(checkpoint, config, OwnNames(checkpoint, shared=shared), "saved by nlpx")
    found = recognise(checkpoint, family)
    if found is None:
        _refuse_other_layouts(checkpoint)
        return None
    tensors = NameMap(found.family.NAMES, checkpoint, found.family.PREFIX)
    foreign = foreign_head(tensors)
    tensors = tensors if foreign is None else without_classifier(tensors)
    values = found.family.read_config(checkpoint.config, tensors)
    values |= {"family": found.name, "tie_word_embeddings": decoder_is_tied(tensors)}
    values |= {"special_token_ids": special_token_ids(checkpoint.config)}
    return Described(checkpoint, _validated(checkpoint, values), tensors, found.reason, foreign)


def _refuse_other_layouts(checkpoint: Checkpoint) -> None:
    if any(name.startswith("encoder.transformer.0.self_attn.linear_layers") for name in checkpoint.names()):
        raise InputError(
            f"{checkpoint.path}: UER-py's own format",
            hint="convert it with UER-py's scripts/convert_bert_from_uer_to_huggingface.py",
        )


def _choose(described: Described, head: str | None, rows: RowChoices, choices: dict[str, Any]) -> ModelConfig:
    config = described.config
    defaults: dict[str, Any] = {"heads": ()}
    if head in ("mlm", "lm"):
        if _has_no_decoder(config):
            raise InputError(
                f"{described.checkpoint.path}: an encoder without its decoder, which would write the text",
                hint="embed, similar and finetune take an encoder alone",
            )
        if head == "mlm" and config.is_encoder_decoder:
            raise InputError(
                f"{described.checkpoint.path}: {config.family} has a decoder that writes texts, and fills no masks",
                hint="take an encoder such as a BERT",
            )
        defaults["heads"] = ("lm",)
        defaults["mask"] = "causal" if head == "lm" and not config.is_encoder_decoder else config.mask
    elif head == "pooler":
        defaults["pooler"] = "tanh" if config.pooler == "none" else config.pooler
    elif head is not None:
        defaults["heads"] = (head,)
    if not config.has_classifier:
        defaults |= {"classification_pooling": "mean", "classification_transform": "none"}
    defaults["vocab_size"] = rows.num_rows(config.vocab_size)
    defaults["special_token_ids"] = rows.moved(config.special_token_ids)
    unknown = sorted(set(choices) - set(ModelConfig.model_fields))
    if unknown:
        raise UsageError(
            f"unknown choice `{unknown[0]}`", hint="choices are the keys of ModelConfig; see `nlpx inspect`"
        )
    try:
        return config.with_choices(**(defaults | choices))
    except ValidationError as error:
        raise UsageError(_first(error)) from None


def _has_no_decoder(config: ModelConfig) -> bool:
    """Whether a vocabulary head would have no weights of its own, so that nothing would miss what was never stored."""
    return "lm" not in config.heads and not config.lm_transform and not config.lm_bias


def _validated(checkpoint: Checkpoint, values: dict[str, Any]) -> ModelConfig:
    try:
        return ModelConfig(**values)
    except ValidationError as error:
        raise InputError(f"{checkpoint.path}: the configuration is not usable: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    details = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in details["loc"])
    message = str(details["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
