"""The parts of one run of `nlpx chess-lm train`: games, vocabulary, model, training, evaluation, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.jobs.chess_lm.config import Config
from nlpx.jobs.chess_lm.start import StartingMoveModel
from nlpx.runs.running import Finished, conclude

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.timing import Rehearsal
    from nlpx.tasks import Evaluation
    from nlpx.train.loop import Collate
    from nlpx.train.state import Training
    from nlpx.xiangqi.formats.games import Game
    from nlpx.xiangqi.model.games import TrainingGames


class Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any) -> None:
        from nlpx.tricks import check_joined, check_needs
        from nlpx.xiangqi.model.games import is_held_out
        from nlpx.xiangqi.model.objective import MoveObjective
        from nlpx.xiangqi.model.tokens import MoveVocabulary

        self.config, self.messages, self.device = config, messages, device
        data = config.data
        self.name: str = data.tokens
        if not data.paths:
            raise UsageError("there are no games", hint="--data games.jsonl: files of games, or - for stdin")
        self.vocabulary = MoveVocabulary(data.tokens, results=data.results)
        self.start = StartingMoveModel(config.model, messages, vocabulary=self.vocabulary, max_length=data.max_length)
        self.start.check()
        self.objective = MoveObjective(seed=config.seed)
        check_joined(list(config.tricks), config.train)
        self.objective.keep(check_needs(config.tricks, MoveObjective.OUTPUTS, of="learning moves"))
        games = read_complete_games(data.paths, data.encoding, messages)
        is_out = [is_held_out(game, data.held_out) for game in games]
        self.train_games = self._rows([game for game, held in zip(games, is_out, strict=True) if not held])
        self.held_out = self._rows([game for game, held in zip(games, is_out, strict=True) if held], mirror=0.0)

    def check(self) -> None:
        """Refuse games of which nothing is left to learn from or to evaluate with."""
        if len(self.train_games) and len(self.held_out):
            return
        missing = "evaluate with" if len(self.train_games) else "train on"
        count = len(self.train_games) + len(self.held_out)
        raise InputError(
            f"of {count} games none is left to {missing}",
            hint="give more games, or another fraction: --set data.held_out=0.3",
        )

    def inputs(self) -> Sequence[str]:
        """The files of games."""
        return self.config.data.paths

    def train(self, run: RunFolder | None, state: Path | None) -> Evaluation:
        """Build, resume from `state` if there is one, and follow the loop; `run` is None in all processes but one."""
        from nlpx.jobs.chess_lm.held_out import HeldOut
        from nlpx.runs.following import Follower, resume

        config = self.config
        training, collate = self.begin()
        model = training.model
        if state is not None:
            resume(training, run, state, self.messages)
        held_out = HeldOut(
            self.held_out, limit=config.data.evaluation_games, device=self.device, precision=config.train.precision
        )
        follower = Follower(
            training=training,
            config=config.train,
            optim=config.optim,
            run=run,
            messages=self.messages,
            evaluate=lambda: held_out.evaluate(model, self.objective),
            save_model=self._save,
            publish=lambda directory: self.publish(model, directory),
        )
        return follower.follow(self.objective, collate)

    def begin(self) -> tuple[Training, Collate]:
        """The run before its first update, and what makes its batches."""
        from nlpx.train.loop import prepare

        config = self.config
        training = prepare(
            self.start.build().to(self.device),
            lengths=self.train_games.lengths,
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
        )
        return training, lambda indices: self._collate(training, indices)

    def rehearsal(self, done: int) -> Rehearsal:
        """The run with what it evaluates on, to be timed; `done` updates lie behind it."""
        from nlpx.runs.timing import Rehearsal, tokens_of

        training, collate = self.begin()
        tokens = tokens_of(self.held_out.lengths, self.config.data.evaluation_games)
        return Rehearsal(
            training=training, objective=self.objective, collate=collate, evaluation_tokens=tokens, done=done
        )

    def finish(self, run: RunFolder) -> Finished:
        """Name the best evaluation, and report."""
        from nlpx.jobs.chess_lm.held_out import COLUMNS, table

        best = conclude(run)
        score, rows = (None, []) if best is None else (best["score"], table(best))
        return Finished(str(run.path), score, rows, COLUMNS)

    def publish(self, model: Any, directory: Path) -> None:
        """Everything that playing needs: weights as `stored_type` says, the tokens, and which games were held out."""
        from nlpx.io import write_json
        from nlpx.models.checkpoints.save import save_model
        from nlpx.xiangqi.model.move_model import MOVES_FILE

        save_model(model, directory, dtype=self.config.stored_type)
        data = self.config.data
        facts = {"held_out": data.held_out, "learn": data.learn, "mirror": data.mirror, "max_length": data.max_length}
        write_json(directory / MOVES_FILE, self.vocabulary.to_dict() | facts)

    def plies_at(self, step: int) -> int | None:
        """How much of each game the curriculum shows in an update; None: all of it."""
        stages = (stage.plies for stage in self.config.data.curriculum if step <= stage.until)
        return next(stages, None)

    def _collate(self, training: Training, indices: list[int]) -> dict[str, Any]:
        plies = self.plies_at(training.step)
        return self.objective.batch(self.train_games, indices, epoch=training.batches.epoch, plies=plies)

    def _save(self, model: Any, directory: Path) -> None:
        from nlpx.models.checkpoints.save import save_model

        save_model(model, directory)

    def _rows(self, games: Sequence[Game], *, mirror: float | None = None) -> TrainingGames:
        from nlpx.xiangqi.model.games import TrainingGames

        data = self.config.data
        return TrainingGames(
            games,
            self.vocabulary,
            data.max_length,
            winner_only=data.learn == "winner",
            mirror=data.mirror if mirror is None else mirror,
        )


def read_complete_games(paths: Sequence[str], encoding: str, messages: Messages) -> list[Game]:
    """The games that begin at the usual start; others, and those that are not games, are counted and left out."""
    from nlpx.xiangqi.formats.games import Rejected, read_games

    games: list[Game] = []
    rejected, num_rejected, num_parts = None, 0, 0
    for path in paths:
        for found in read_games(path, encoding):
            if isinstance(found, Rejected):
                rejected, num_rejected = rejected or found, num_rejected + 1
            elif found.start is not None:
                num_parts += 1
            else:
                games.append(found)
    if rejected is not None:
        messages.warn(f"{num_rejected} games were left out; the first: {rejected}")
    if num_parts:
        messages.note(f"{num_parts} games do not begin at the start and were left out")
    return games
