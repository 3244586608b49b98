"""A model to generate with: loaded, put behind the decoder that fits it, with the frame of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.jobs.generate.options import EngineName, Precision
from nlpx.jobs.generate.trained import TrainedLengths, trained_lengths

if TYPE_CHECKING:
    import torch

    from nlpx.decode.generation.ctranslate2.engine import Engine
    from nlpx.decode.generation.decoders import Decoder
    from nlpx.decode.generation.formats import Format
    from nlpx.decode.generation.hypothesis import Hypothesis
    from nlpx.decode.generation.processors import Processor
    from nlpx.decode.generation.settings import GenerationSettings
    from nlpx.tokenizers.base import Tokenizer

LONGEST = 1 << 30  # tokens, where nothing says how long texts may be

MADE_BY = (
    "`nlpx pretrain --model {} --objective unilm` makes one that answers, --objective lm one that continues; "
    "char-tiny and word-tiny ship with one"
)


@dataclass(frozen=True, slots=True)
class GeneratingModel:
    """A decoder with its tokenizer. `arrangement` says in a sentence which decoder was chosen, and why."""

    decoder: Decoder | Engine
    tokenizer: Tokenizer
    end_ids: frozenset[int]
    arrangement: str
    precision: str
    trained_length: int  # tokens that the model was made for, source and answer together
    trained: TrainedLengths | None  # of the run that made it, if one did

    @property
    def continues(self) -> bool:
        """Whether an answer goes on where its source ends."""
        return self.decoder.reads_source

    def write(
        self,
        sources: Sequence[Sequence[int]],
        settings: GenerationSettings,
        processors: Sequence[Processor],
        generator: torch.Generator,
    ) -> list[list[Hypothesis]]:
        """The answers to framed sources, best first."""
        from nlpx.decode.generation import generate
        from nlpx.decode.generation.ctranslate2.engine import Engine

        if not isinstance(self.decoder, Engine):
            return generate(
                self.decoder, sources, settings, end_ids=self.end_ids, processors=processors, generator=generator
            )
        unwritten = sorted(unwritten_ids(self)) + list(range(self.tokenizer.vocab_size, self.decoder.num_rows))
        return self.decoder.answer(sources, settings, end_ids=sorted(self.end_ids), banned=unwritten)

    def frame(self, body: Sequence[int]) -> list[int]:
        """A source as the decoder reads it, from the ids of its text."""
        frame = self.tokenizer.frame
        return [*frame.start, *body, *(() if self.continues else frame.end)]

    def body_of(self, text: str) -> list[int]:
        """The ids of a text without what goes around it."""
        frame = self.tokenizer.frame
        token_ids = self.tokenizer.encode(text).token_ids
        return token_ids[len(frame.start) : len(token_ids) - len(frame.end)]


def unwritten_ids(model: GeneratingModel) -> set[int]:
    """Ids that no answer has: of what only frames a text or hides a token."""
    tokenizer = model.tokenizer
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.mask_token_id)
    return {token_id for token_id in special if token_id is not None} - model.end_ids


def load(
    name: str, *, device: str = "auto", precision: Precision = "auto", engine: EngineName = "auto", seed: int = 0
) -> GeneratingModel:
    """Load a model by directory, run, shipped or hub name; `seed` is for the draws of an engine that has its own.

    Raises `InputError` for one without a language-model head, with the command that makes one, and `UsageError` for
    a run of a task that writes nothing, and for int8 on an accelerator.
    """
    import torch

    from nlpx.decode.generation.formats import ready_to_decode
    from nlpx.device import choose
    from nlpx.tokenizers.load import load_tokenizer

    chosen = torch.device(choose(device).device)
    resolved = _format(precision, chosen)
    where = _checkpoint(name)
    if _is_for_ctranslate2(where, engine):
        return _for_ctranslate2(where, precision, seed)
    tokenizer = load_tokenizer(where)
    trained = trained_lengths(where, tokenizer)
    model = _with_head(where, name)
    tokenizer.require_rows(model.config.vocab_size, name=name)
    decoder, arrangement = _arranged(ready_to_decode(model.to(chosen), resolved), tokenizer.vocab_size)
    if trained is None and not decoder.reads_source:
        arrangement += "; one that was not trained to answer writes nonsense"
    return GeneratingModel(
        decoder=decoder,
        tokenizer=tokenizer,
        end_ids=_end_ids(tokenizer, model.config),
        arrangement=arrangement,
        precision=resolved,
        trained_length=model.config.max_position_embeddings if trained is None else trained.row,
        trained=trained,
    )


def _is_for_ctranslate2(where: str, engine: EngineName) -> bool:
    from nlpx.decode.generation.ctranslate2.export import facts_of

    is_written_for_it = facts_of(Path(where)) is not None
    if engine == "nlpx" and is_written_for_it:
        raise UsageError(f"{where} was written for CTranslate2", hint="--engine ctranslate2, or the model it is from")
    return is_written_for_it if engine == "auto" else engine == "ctranslate2"


def _for_ctranslate2(where: str, precision: Precision, seed: int) -> GeneratingModel:
    import torch

    from nlpx.decode.generation.ctranslate2.engine import Engine
    from nlpx.tokenizers.load import load_tokenizer

    if precision != "auto":
        raise UsageError(
            f"--precision {precision}: CTranslate2 computes in what its file holds",
            hint="`nlpx convert --to ctranslate2 --dtype int8` writes another",
        )
    engine = Engine(Path(where), num_threads=torch.get_num_threads(), seed=seed)
    tokenizer = load_tokenizer(where)
    what = "continues its prompt (causal)" if engine.reads_source else "answers its source (encoder-decoder)"
    longest = engine.max_length or LONGEST
    return GeneratingModel(
        decoder=engine,
        tokenizer=tokenizer,
        end_ids=_end_ids(tokenizer, engine),
        arrangement=f"{what}, by CTranslate2",
        precision="the format of its file",
        trained_length=longest,
        trained=None,
    )


def _checkpoint(name: str) -> str:
    """The directory of a checkpoint or of a run's best one; a run in `runs` is known by its name, or as `last`."""
    from nlpx.jobs.predict import find_checkpoint
    from nlpx.models.checkpoints.hub.of_run import checkpoint_of

    if Path(name).is_dir():
        return str(checkpoint_of(Path(name)))
    is_run = name == "last" or (Path("runs") / name).is_dir()
    return str(find_checkpoint(name)) if is_run else name


def _with_head(where: str, name: str) -> Any:
    from nlpx.models.checkpoints.load import describe, load_model
    from nlpx.models.checkpoints.resolve import resolve
    from nlpx.models.encoder_decoder import EncoderDecoder
    from nlpx.models.transformer import Transformer

    described = describe(resolve(where))
    has_decoder = described is not None and described.config.is_encoder_decoder
    try:
        # The head `lm` would make an encoder causal.
        model = load_model(where, head="lm" if has_decoder else "mlm")
    except InputError as error:
        if "lm_head" not in error.message and "masked-language-model head" not in error.message:
            raise
        raise InputError(
            f"{name}: the model has no language-model head to generate with", hint=MADE_BY.format(name)
        ) from None
    if not isinstance(model, Transformer | EncoderDecoder):
        raise InputError(
            f"{name}: generation needs a family that nlpx computes itself, this model comes through transformers",
            hint="nlpx inspect says which family a checkpoint is",
        )
    return model


def _arranged(model: Any, num_tokens: int) -> tuple[Decoder, str]:
    """The decoder that fits a model, and the sentence that says so: the one place where it is chosen."""
    from nlpx.decode.generation import CausalDecoder, EncoderDecoderDecoder, PrefixDecoder

    if model.config.is_encoder_decoder:
        arrangement = "answers its source: one stack reads, another writes (encoder-decoder)"
        return EncoderDecoderDecoder(model, num_tokens), arrangement
    if model.config.mask == "causal":
        return CausalDecoder(model, num_tokens), "continues its prompt: the model reads from left to right (causal)"
    return PrefixDecoder(model, num_tokens), (
        "answers its source: the model reads both ways, so source and answer go in as two segments (UniLM)"
    )


def _end_ids(tokenizer: Tokenizer, config: Any) -> frozenset[int]:
    named = (tokenizer.sep_token_id, config.special_token_ids.get("eos"), *tokenizer.frame.end)
    return frozenset(token_id for token_id in named if token_id is not None)


def _format(precision: Precision, device: torch.device) -> Format:
    if precision == "auto":
        # On a CPU bfloat16 was no faster for few rows (docs/performance.md), and would change some answers.
        return "float32" if device.type == "cpu" else "bfloat16"
    if precision != "int8":
        return precision
    if device.type != "cpu":
        raise UsageError(f"--precision int8 computes on a CPU, not on {device.type}", hint="--device cpu")
    return precision
