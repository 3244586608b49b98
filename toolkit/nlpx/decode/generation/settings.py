"""How texts are generated: lengths, beams, sampling, and what is held against repetitions. Read without torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from nlpx.configuration.section import Section


class GenerationSettings(Section):
    """Temperature 0 takes the likeliest token each time, or searches with `num_beams`; above 0 tokens are drawn."""

    max_new_tokens: int = Field(64, ge=1, description="tokens of an answer at most, the end token included")
    min_new_tokens: int = Field(0, ge=0, description="tokens before the answer may end")
    num_beams: int = Field(1, ge=1, description="answers that are followed side by side; 1 = greedy")
    num_return: int = Field(1, ge=1, description="answers returned for a source, best first")
    length_penalty: float = Field(
        0.0, description="beams are ranked by their log probability over length ** this; 0 = the plain sum"
    )
    temperature: float = Field(0.0, ge=0, description="logits are divided by it before a token is drawn; 0 = greedy")
    top_k: int | None = Field(None, ge=1, description="draw from the k most probable tokens")
    top_p: float | None = Field(
        None, gt=0, le=1, description="draw from the fewest tokens that together have this probability"
    )
    typical_p: float | None = Field(
        None, gt=0, le=1, description="the same, of the tokens whose surprise is nearest to the expected one"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="logits of tokens that stood before are divided by it, or multiplied if below 0"
    )
    no_repeat_ngram: int = Field(0, ge=0, description="no sequence of so many tokens comes twice; 0 = any may")

    @property
    def is_sampling(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        drawing = {"top_k": self.top_k, "top_p": self.top_p, "typical_p": self.typical_p}
        useless = next((name for name, value in drawing.items() if value is not None), None)
        for wrong, message in (
            (
                self.min_new_tokens > self.max_new_tokens,
                f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}",
            ),
            (self.is_sampling and self.num_beams > 1, "temperature above 0 draws tokens, num_beams searches: give one"),
            (
                not self.is_sampling and self.num_return > self.num_beams,
                f"num_return {self.num_return} is above num_beams {self.num_beams}, and nothing is drawn",
            ),
            (
                useless is not None and not self.is_sampling,
                f"{useless} narrows what is drawn, and temperature 0 draws nothing",
            ),
        ):
            if wrong:
                raise ValueError(message)
        return self
