"""The parts of one pretraining run: corpus, tokenizer, shards, rows, model, training, evaluation, checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.jobs.pretrain.config import Config
from nlpx.jobs.pretrain.mix import Mix, heads, row_facts, trains_a_pair
from nlpx.runs.running import Finished, conclude
from nlpx.runs.starting_model import StartingModel
from nlpx.runs.starting_pair import StartingPair
from nlpx.tricks import check_joined, check_needs

if TYPE_CHECKING:
    from nlpx.data.batches.packing import PackedRows
    from nlpx.data.shards.reading import Shards
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.timing import Rehearsal
    from nlpx.tasks import Evaluation
    from nlpx.tokenizers.base import Tokenizer
    from nlpx.train.loop import Collate
    from nlpx.train.state import Training

# What a checkpoint may lack: an encoder is often published without the heads it was pretrained with.
HEADS_OF_PRETRAINING = ("lm_head.*", "sentence_head.*", "pooler.*")
TOKENIZER = "tokenizer"  # in the run folder: a vocabulary from the corpus is counted once


class Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any, earlier: RunFolder | None = None) -> None:
        from nlpx.data.batches.masking import SpecialIds
        from nlpx.data.corpus.texts import Reading, find_sources

        self.config, self.messages, self.device, self.earlier = config, messages, device, earlier
        self.name = "-".join(config.objectives)
        if not config.data.paths:
            raise UsageError("there is no corpus", hint="--data corpus.jsonl: a file, a folder, or - for stdin")
        self.sources = find_sources(config.data.paths, format=config.data.format, encoding=config.data.encoding)
        self.reading = Reading(field=config.data.field, encoding=config.data.encoding)
        self.start = self._starting_model()
        self.tokenizer = self._tokenizer()
        self.special = SpecialIds.of(self.tokenizer)
        facts = row_facts(self.tokenizer, max_length=config.data.max_length)
        self.mix = Mix(config.objectives, self.special, facts, seed=config.seed)
        check_joined(list(config.tricks), config.train)
        self.mix.keep(check_needs(config.tricks, self.mix.outputs, of=f"the objective {self.name}"))
        self.start.check()
        self._check_attention()
        self.shards = self._shards()
        self.rows = self._pack(self.shards.train)
        self.held_out = self._pack(self.shards.held_out)

    def check(self) -> None:
        """Refuse a corpus of which nothing is left to learn from or to evaluate with."""
        if not len(self.rows) or not len(self.held_out):
            missing = "train on" if not len(self.rows) else "evaluate with"
            raise InputError(
                f"the corpus has {self.shards.num_documents} documents: none is left to {missing}",
                hint="give more texts, or another fraction: --set data.held_out=0.1",
            )

    def inputs(self) -> Sequence[str]:
        """The files of the corpus."""
        return [source.path for source in self.sources]

    def train(self, run: RunFolder | None, state: Path | None) -> Evaluation:
        """Build, resume from `state` if there is one, and follow the loop; `run` is None in all processes but one."""
        from nlpx.jobs.pretrain.evaluation import HeldOutRows
        from nlpx.runs.following import Follower, resume

        config = self.config
        if run is not None:
            self.tokenizer.save(run.path / TOKENIZER)
        training, collate = self.begin()
        model = training.model
        if state is not None:
            resume(training, run, state, self.messages)
        aside = HeldOutRows(
            self.held_out,
            self.mix,
            limit=config.data.evaluation_rows,
            device=self.device,
            precision=config.train.precision,
        )
        follower = Follower(
            training=training,
            config=config.train,
            optim=config.optim,
            run=run,
            messages=self.messages,
            evaluate=lambda: aside.evaluate(model),
            save_model=self._save,
            publish=lambda directory: self._save(model, directory),
            facts=lambda info: {"objective": self.mix.name_at(info.step)},
        )

        return follower.follow(self.mix, collate)

    def begin(self) -> tuple[Training, Collate]:
        """The run before its first update, and what makes its batches."""
        from nlpx.train.loop import prepare

        config = self.config
        training = prepare(
            self.start.build(allow_partial=HEADS_OF_PRETRAINING).to(self.device),
            lengths=self.rows.lengths.tolist(),
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
        )

        def collate(indices: list[int]) -> dict[str, Any]:
            name = self.mix.name_at(training.step)
            return self.mix.batch(self.rows, indices, name=name, epoch=training.batches.epoch)

        return training, collate

    def rehearsal(self, done: int) -> Rehearsal:
        """The run with what it evaluates on, every objective by itself, to be timed."""
        from nlpx.runs.timing import Rehearsal, tokens_of

        training, collate = self.begin()
        tokens = tokens_of(self.held_out.lengths.tolist(), self.config.data.evaluation_rows)
        return Rehearsal(
            training=training,
            objective=self.mix,
            collate=collate,
            evaluation_tokens=tokens * len(self.mix.objectives),
            done=done,
        )

    def finish(self, run: RunFolder) -> Finished:
        """Name the best evaluation, and report."""
        from nlpx.jobs.pretrain.evaluation import columns, table

        best = conclude(run)
        shown = tuple(columns(self.mix))
        if best is None:
            return Finished(str(run.path), None, [], shown)
        return Finished(str(run.path), best["score"], table(best), shown)

    def _check_attention(self) -> None:
        if self.start.config().attention != "performer":
            return
        if "unilm" in self.mix.objectives:
            raise UsageError(
                "attention `performer` cannot follow the mask of objective `unilm`", hint="--objective mlm, lm or sop"
            )
        if self.config.data.documents == "keep_apart":
            raise UsageError(
                "attention `performer` cannot keep the documents of a row apart", hint="--set data.documents=run_on"
            )

    def _starting_model(self) -> StartingModel:
        config, max_length = self.config, self.config.data.max_length
        needed = heads(config.objectives)
        start: StartingModel
        if trains_a_pair(config.objectives):
            start = StartingPair(config.model, self.messages, rtd=config.objectives["rtd"], max_length=max_length)
        else:
            start = StartingModel(config.model, self.messages, parts={"heads": needed}, max_length=max_length)
        if not start.is_ours:
            raise UsageError(
                f"{config.model.name}: a model loaded through transformers can be fine-tuned, not pretrained",
                hint="give a checkpoint of one of the families of `nlpx convert --help`, or --model new",
            )
        depth = start.described.config.num_decoder_layers if start.described else 0
        if config.model.choices.get("num_decoder_layers", depth):
            raise UsageError(
                f"{config.model.name}: it has a decoder, and pretraining trains one stack",
                hint="--set model.choices.num_decoder_layers=0 takes the encoder alone",
            )
        if "sentence" in start.parts["heads"] and (start.described is None or start.described.config.pooler == "none"):
            start.parts["pooler"] = "tanh"
        if list(config.objectives) == ["lm"]:
            start.parts["mask"] = "causal"
        return start

    def _tokenizer(self) -> Tokenizer:
        """That of the model or option; for a new model the characters of the corpus, kept with the run."""
        from nlpx.tokenizers.char import CharTokenizer
        from nlpx.tokenizers.load import load_tokenizer
        from nlpx.tokenizers.vocab import Vocab
        from nlpx.train import distributed

        if not self.start.is_new or self.config.model.tokenizer is not None:
            return self.start.read_tokenizer(self._texts)
        if self.earlier is not None:
            self.start.tokenizer = load_tokenizer(self.earlier.path / TOKENIZER)
            return self.start.tokenizer
        tokens = self.start.read_tokenizer(self._texts).vocab.tokens if distributed.is_main() else None
        self.start.tokenizer = CharTokenizer(Vocab(distributed.from_main(tokens), source="built from the corpus"))
        return self.start.tokenizer

    def _texts(self) -> Iterator[str]:
        from nlpx.data.corpus.texts import read_texts

        once = next((source.name for source in self.sources if not source.repeatable), None)
        if once is not None:
            raise UsageError(
                f"{once} can be read only once, and a vocabulary of its characters needs a pass of its own",
                hint="--tokenizer DIR takes one that is there; or save the texts to a file",
            )
        self.messages.note("counting characters for the vocabulary")
        for source in self.sources:
            yield from read_texts(source, self.reading)

    def _shards(self) -> Shards:
        """The tokenized corpus: made or found by the first process, opened by the others."""
        from nlpx.data.shards.reading import open_shards
        from nlpx.train import distributed

        shards = self._build_shards() if distributed.is_main() else None
        folder = distributed.from_main(None if shards is None else str(shards.folder))
        return shards or open_shards(Path(folder), held_out=self.config.data.held_out)

    def _build_shards(self) -> Shards:
        import os

        from nlpx.data.shards.build import build_shards

        data = self.config.data
        return build_shards(
            self.sources,
            self.tokenizer,
            reading=self.reading,
            directory=None if data.cache is None else Path(data.cache),
            workers=data.workers or os.cpu_count() or 1,
            whole_words=data.whole_words,
            held_out=data.held_out,
            messages=self.messages,
        )

    def _pack(self, documents: Any) -> PackedRows:
        from nlpx.data.batches.packing import pack

        data = self.config.data
        return pack(
            documents,
            max_length=data.max_length,
            special=self.special,
            keep_apart=data.documents == "keep_apart",
            seed=self.config.seed,
        )

    def _save(self, model: Any, directory: Path) -> None:
        from nlpx.models.replaced_token import GENERATOR

        model.save(directory)
        self.tokenizer.save(directory)
        if isinstance(self.start, StartingPair):
            self.tokenizer.save(directory / GENERATOR)
