"""Any other encoder (XLM-R, DeBERTa, ModernBERT, ...) through transformers, behind the call of our `Transformer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nlpx.errors import InputError, UsageError
from nlpx.models.heads import masked_mean
from nlpx.models.report import LoadReport
from nlpx.models.transformer import ModelOutput


class Backbone(nn.Module):
    """Wraps a transformers model. Masks other than its own, conditions and choices of parts are refused."""

    def __init__(self, model: Any, *, num_labels: int | None = None) -> None:
        super().__init__()
        self.model = model
        size = model.config.hidden_size
        self.classifier = nn.Linear(size, num_labels) if num_labels else None
        self.load_report = LoadReport("transformers", f"model_type {model.config.model_type}")
        self._takes_segments = getattr(model.config, "type_vocab_size", 0) > 1

    @classmethod
    def load(cls, path: Path, *, head: str | None, choices: dict[str, Any]) -> Backbone:
        """Load a local directory. Raises `InputError` if transformers cannot, `UsageError` for unsupported choices."""
        num_labels = choices.pop("num_labels", 2) if head == "classification" else None
        if choices:
            raise UsageError(f"{path}: `{next(iter(choices))}` can be chosen for nlpx families only")
        if head not in (None, "classification", "mlm"):
            raise UsageError(f"{path}: head `{head}` is not available for encoders loaded through transformers")
        from transformers import AutoModel, AutoModelForMaskedLM

        loader = AutoModelForMaskedLM if head == "mlm" else AutoModel
        try:
            model = loader.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{path}: neither an nlpx family nor known to transformers: {reason}") from None
        return cls(model, num_labels=num_labels).eval()

    def forward(
        self,
        token_ids: Tensor,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask: str | Tensor | None = None,
        position_ids: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        return_hidden_states: bool = False,
    ) -> ModelOutput:
        """As `Transformer.forward`, with `mask` and `condition` left to the encoder's own."""
        if mask not in (None, "bidirectional") or condition is not None:
            raise UsageError("an encoder loaded through transformers takes no mask name and no condition")
        arguments: dict[str, Any] = {"input_ids": token_ids, "attention_mask": attention_mask}
        if self._takes_segments and segment_ids is not None:
            arguments["token_type_ids"] = segment_ids
        if position_ids is not None:
            arguments["position_ids"] = position_ids
        output = self.model(**arguments, output_hidden_states=True)
        states = output.hidden_states
        logits = getattr(output, "logits", None)
        if self.classifier is not None:
            logits = self.classifier(masked_mean(states[-1], attention_mask))
        return ModelOutput(
            last_hidden_state=states[-1],
            hidden_states=tuple(states[1:]) if return_hidden_states else None,
            pooled=getattr(output, "pooler_output", None),
            logits=logits,
        )
