"""Any other encoder (XLM-R, DeBERTa, ModernBERT, ...) through transformers, behind the call of our `Transformer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from torch import Tensor, nn

from nlpx.errors import InputError, UsageError, UserError, reason_of
from nlpx.io import write_atomically, write_json
from nlpx.models.checkpoints.checkpoint import SAFETENSORS, read_config
from nlpx.models.checkpoints.leftovers import judge_foreign
from nlpx.models.checkpoints.save import usual_rights
from nlpx.models.encoder import Encoder, ModelOutput, one_input
from nlpx.models.heads import masked_mean
from nlpx.models.load_report import LoadReport

_PROBE = 6  # tokens that a model is tried with
OWN_MODEL_TYPE = "nlpx_backbone"  # what `save` writes: an encoder of transformers with our classifier


class Backbone(Encoder):
    """Wraps a transformers model. Masks other than its own, conditions and choices of parts are refused."""

    def __init__(self, model: Any, *, num_labels: int | None = None, report: LoadReport | None = None) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        size = model.config.hidden_size
        self.classifier = nn.Linear(size, num_labels) if num_labels else None
        self.load_report: LoadReport = report or LoadReport("transformers", f"model_type {model.config.model_type}")
        self._takes_segments = getattr(model.config, "type_vocab_size", 0) > 1

    @classmethod
    def load(cls, path: Path, *, head: str | None, choices: dict[str, Any]) -> Backbone:
        """Load a local directory. Raises `InputError` if transformers cannot, `UsageError` for unsupported choices."""
        num_labels = choices.pop("num_labels", 2) if head == "classification" else None
        if choices:
            raise UsageError(f"{path}: `{next(iter(choices))}` can be chosen for nlpx families only")
        if head not in (None, "classification", "mlm"):
            raise UsageError(f"{path}: head `{head}` is not available for encoders loaded through transformers")
        own = read_config(path)
        with _quiet_transformers(), _explained(path):
            if own.get("model_type") == OWN_MODEL_TYPE:
                return cls._load_own(path, own).eval()
            model, report = _from_pretrained(path, head, str(own.get("model_type")))
            backbone = cls(model, num_labels=num_labels, report=report).eval()
            _refuse_dependence_on_padding(path, backbone)
            return backbone

    @classmethod
    def load_own(cls, path: Path) -> Backbone:
        """What `save` wrote, classifier included. Raises `InputError` for anything else."""
        own = read_config(path)
        if own.get("model_type") != OWN_MODEL_TYPE:
            raise InputError(f"{path}: not the checkpoint of a run: {path / 'config.json'} names another model")
        with _quiet_transformers(), _explained(path):
            return cls._load_own(path, own).eval()

    @classmethod
    def _load_own(cls, path: Path, own: dict[str, Any]) -> Backbone:
        backbone = cls(_without_weights(own["encoder"]), num_labels=own["num_labels"])
        load_weights(backbone, path / SAFETENSORS)
        return backbone

    @staticmethod
    def count_parameters(path: Path) -> int:
        """How many numbers the encoder has, without reading them."""
        with torch.device("meta"), _quiet_transformers(), _explained(path):
            model = _without_weights(read_config(path))
        return sum(parameter.numel() for parameter in model.parameters())

    def save(self, directory: Path) -> None:
        """Write weights and configuration, the classifier included; `load` reads them back."""
        num_labels = None if self.classifier is None else self.classifier.out_features
        config = {"model_type": OWN_MODEL_TYPE, "num_labels": num_labels, "encoder": self.model.config.to_dict()}
        directory.mkdir(parents=True, exist_ok=True)
        with write_atomically(directory / SAFETENSORS) as temporary, usual_rights(temporary):
            save_weights(self, str(temporary), metadata={"format": "pt"})
        write_json(directory / "config.json", config)

    def forward(
        self,
        token_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask: str | Tensor | None = None,
        position_ids: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        return_hidden_states: bool = False,
        heads: Sequence[str] | None = None,
        lm_positions: Tensor | None = None,
    ) -> ModelOutput:
        """As `Encoder.forward`, with `mask` and `condition` left to the encoder's own.

        The product with the vocabulary is theirs as well: `lm_positions` only chooses from it.
        """
        if mask not in (None, "bidirectional") or condition is not None:
            raise UsageError("an encoder loaded through transformers takes no mask name and no condition")
        one_input(token_ids, inputs_embeds)
        arguments: dict[str, Any] = {"attention_mask": attention_mask}
        arguments |= {"input_ids": token_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        if self._takes_segments and segment_ids is not None:
            arguments["token_type_ids"] = segment_ids
        if position_ids is not None:
            arguments["position_ids"] = position_ids
        output = self.model(**arguments, output_hidden_states=True)
        states = output.hidden_states
        return ModelOutput(
            last_hidden_state=states[-1],  # (B, T, D)
            hidden_states=tuple(states[1:]) if return_hidden_states else None,
            pooled=getattr(output, "pooler_output", None),
            heads=self._heads(output, states[-1], attention_mask, heads, lm_positions),
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """The encoder's word table."""
        return cast(nn.Embedding, self.model.get_input_embeddings())

    def head_modules(self) -> dict[str, nn.Module]:
        """Our classifier, if it has one; the vocabulary product is the encoder's own."""
        return {} if self.classifier is None else {"classification": self.classifier}

    def _heads(
        self,
        output: Any,
        states: Tensor,
        attention_mask: Tensor | None,
        wanted: Sequence[str] | None,
        lm_positions: Tensor | None,
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        logits = getattr(output, "logits", None)  # (B, T, V) of a masked language model
        if logits is not None:
            found["lm"] = logits if lm_positions is None else logits.flatten(0, 1)[lm_positions]
        if self.classifier is not None:
            found["classification"] = self.classifier(masked_mean(states, attention_mask))  # (B, num_labels)
        missing = [name for name in wanted or () if name not in found]
        if missing:
            raise UsageError(f"an encoder loaded through transformers has no head `{missing[0]}`")
        return found if wanted is None else {name: found[name] for name in wanted}


def _from_pretrained(path: Path, head: str | None, model_type: str) -> tuple[Any, LoadReport]:
    """The model of transformers, and what became of the tensors. Raises `InputError` if it would start at random."""
    from transformers import AutoModelForMaskedLM

    loader = AutoModelForMaskedLM if head == "mlm" else _auto_class(model_type)
    options = {"local_files_only": True, "trust_remote_code": False, "dtype": torch.float32}
    model, found = loader.from_pretrained(str(path), output_loading_info=True, **options)
    _refuse_other_inputs(path, model)
    missing = sorted(name for name in found["missing_keys"] if head == "mlm" or "pooler" not in name)
    if missing:
        what = "part of a masked-language-model head" if _is_of_head(model, missing[0]) else "part of the encoder"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{path}: the checkpoint lacks {missing[0]}{more}, {what}",
            hint="it would start at random; is config.json that of these weights (its model_type, its sizes)?",
        )
    report = LoadReport("transformers", f"model_type {model.config.model_type}")
    report.missing = sorted(found["missing_keys"])
    report.unexpected = sorted(found["unexpected_keys"])
    report.used = {name: [name] for name in model.state_dict() if name not in found["missing_keys"]}
    judge_foreign(report, path, getattr(model.config, "num_hidden_layers", None))
    return model, report


def _is_of_head(model: Any, name: str) -> bool:
    return name.split(".")[0] != model.base_model_prefix and hasattr(model, model.base_model_prefix)


def _without_weights(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    kinds = {key: value for key, value in config.items() if key not in ("architectures", "dtype", "torch_dtype")}
    made = AutoConfig.for_model(**kinds)
    return _auto_class(made.model_type).from_config(made)


def _auto_class(model_type: str) -> Any:
    """What builds the encoder: of models such as T5, the encoder without its decoder."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    has_half = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(model_type, "").endswith("EncoderModel")
    return AutoModelForTextEncoding if has_half else AutoModel


def _refuse_other_inputs(path: Path, model: Any) -> None:
    parameters = signature(model.forward).parameters
    name = f"{path}: a model of model_type {model.config.model_type}"
    hint = "take an encoder of texts, such as BERT, XLM-R, ModernBERT or Qwen"
    if "input_ids" not in parameters:
        raise InputError(f"{name} takes no token ids", hint=hint)
    if "decoder_input_ids" in parameters:
        raise InputError(f"{name} is an encoder with a decoder, which transformers does not take apart", hint=hint)


def _refuse_dependence_on_padding(path: Path, backbone: Backbone) -> None:
    """Try a row alone and padded: a text's vector must not follow from what else is in its batch."""
    pad = getattr(backbone.config, "pad_token_id", None) or 0
    ids = [index for index in range(1, 2 * _PROBE) if index != pad][:_PROBE]
    mask = torch.tensor([[1] * _PROBE + [0] * _PROBE])
    with torch.inference_mode():
        alone = backbone(torch.tensor([ids]), attention_mask=mask[:, :_PROBE]).last_hidden_state
        padded = backbone(torch.tensor([ids + [pad] * _PROBE]), attention_mask=mask).last_hidden_state[:, :_PROBE]
    if not torch.allclose(alone, padded, rtol=0, atol=0.01 * float(alone.abs().max())):  # rounding is far below
        raise InputError(
            f"{path}: a model of model_type {backbone.config.model_type} gives a text other vectors beside longer ones",
            hint="take an encoder whose attention leaves padding out, such as BERT, XLM-R, ModernBERT or Qwen",
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of classes of its own as well, which follow from how it checks configurations
        raise InputError(f"{path}: neither an nlpx family nor known to transformers: {reason_of(error)}") from None


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silences its reports; ours lists what was loaded."""
    from transformers.utils import logging

    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()
