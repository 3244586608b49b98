"""Models written for CTranslate2 answer as ours do: causal with learned and rotary positions, and encoder-decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nlpx.decode.generation import CausalDecoder, EncoderDecoderDecoder, GenerationSettings, generate
from nlpx.decode.generation.ctranslate2.engine import Engine
from nlpx.decode.generation.ctranslate2.export import export
from nlpx.errors import InputError, UsageError
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.transformer import Transformer

pytest.importorskip("ctranslate2")

SIZES: dict[str, Any] = {
    "vocab_size": 57, "hidden_size": 32, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "heads": ("lm",), "lm_transform": False, "initializer_range": 0.3,
}  # fmt: skip
PRE = {"norm_place": "pre", "embedding_norm": False, "norm_eps": 1e-5}
T5 = {
    "position": "bucketed", "num_decoder_layers": 3, "norm": "rms", **PRE, "use_bias": False, "type_vocab_size": 0,
    "attention_scale": "none", "lm_bias": False, "num_position_buckets": 8, "max_bucketed_distance": 20,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {**PRE, "mask": "causal", "type_vocab_size": 0, "lm_bias": False, "hidden_act": "gelu_new"},
    "rotary, post-norm": {"mask": "causal", "position": "rotary"},
    "rotary, pre-norm, own product": {**PRE, "mask": "causal", "position": "rotary", "tie_word_embeddings": False},
    "t5": {**T5, "hidden_act": "relu", "lm_scale": "sqrt"},
    "mt5": {**T5, "hidden_act": "gelu_new", "feed_forward": "gated", "tie_word_embeddings": False},
}
TOKENS = [f"t{index}" for index in range(55)]  # the word table has two rows more
SOURCES = [[5, 9, 12], [7, 3, 22, 41, 8, 19], [30]]
END = 1


def built(name: str) -> Any:
    torch.manual_seed(4)
    config = ModelConfig(**(SIZES | MODELS[name]))
    return (EncoderDecoder if config.is_encoder_decoder else Transformer)(config).eval()


def engine(model: Any, folder: Path, *, weights: Any = "float32") -> Engine:
    export(model, TOKENS, folder, weights=weights)
    return Engine(folder, num_threads=1, seed=0)


def ours(model: Any, **settings: Any) -> Any:
    decoder = (EncoderDecoderDecoder if model.config.is_encoder_decoder else CausalDecoder)(model, len(TOKENS))
    return generate(decoder, SOURCES, GenerationSettings(max_new_tokens=12, **settings), end_ids=[END])


def theirs(asked: Engine, **settings: Any) -> Any:
    chosen = GenerationSettings(max_new_tokens=12, **settings)
    return asked.answer(SOURCES, chosen, end_ids=[END], banned=[55, 56])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"min_new_tokens": 4, "no_repeat_ngram": 2}], ids=str)
def test_the_same_answers(name, settings, tmp_path):
    model = built(name)
    for wanted, found in zip(ours(model, **settings), theirs(engine(model, tmp_path), **settings), strict=True):
        assert found[0].token_ids == wanted[0].token_ids
        assert found[0].is_finished == wanted[0].is_finished
        if "min_new_tokens" not in settings:  # its scores are those of what is left where tokens are forbidden
            # Sums of float32 products in another order, over at most 12 tokens.
            assert found[0].score == pytest.approx(wanted[0].score, abs=1e-3)


def test_several_answers_come_best_first(tmp_path):
    model = built("gpt2")
    for answers in theirs(engine(model, tmp_path), num_beams=4, num_return=3):
        assert [answer.score for answer in answers] == sorted((answer.score for answer in answers), reverse=True)
        assert len({tuple(answer.token_ids) for answer in answers}) == 3


def test_int8_is_smaller(tmp_path):
    model = built("gpt2")
    for weights in ("float32", "int8"):
        (tmp_path / weights).mkdir()
        theirs(engine(model, tmp_path / weights, weights=weights))
    sizes = {weights: (tmp_path / weights / "model.bin").stat().st_size for weights in ("float32", "int8")}
    assert sizes["int8"] < 0.7 * sizes["float32"]  # the rest are positions and norms


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"mask": "bidirectional"}, "mask `bidirectional`, only `causal`"),
        ({"mask": "causal", "lm_transform": True}, "lm_transform `True`, only `False`"),
        ({"mask": "causal", "position": "relative"}, "position `relative`, only `learned` and `rotary`"),
        ({"mask": "causal", "residual_scores": "sum"}, "residual_scores `sum`, only `none`"),
        ({"mask": "causal", "heads": ()}, "no head `lm`"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(choices, named, tmp_path):
    with pytest.raises(InputError, match=named.replace("(", r"\(")):
        export(Transformer(ModelConfig(**(SIZES | choices))), TOKENS, tmp_path, weights="float32")
    assert not list(tmp_path.iterdir())


def test_refusals_of_the_engine(tmp_path):
    with pytest.raises(InputError, match="not written for CTranslate2"):
        Engine(tmp_path, num_threads=1, seed=0)
    with pytest.raises(UsageError, match="typical tokens are not"):
        theirs(engine(built("gpt2"), tmp_path), temperature=1.0, typical_p=0.5)
