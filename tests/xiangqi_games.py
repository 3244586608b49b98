"""Games and models of moves, small enough to make in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.xiangqi.formats.games import Game, write_games
from nlpx.xiangqi.model.move_model import MOVES_FILE, MoveModel
from nlpx.xiangqi.model.tokens import Form, MoveVocabulary
from nlpx.xiangqi.play.players import CapturePlayer
from nlpx.xiangqi.rules.board import Position

OPENING = "h2e2 h9g7 h0g2 i9h9 i0h0 b9c7"
# What makes a run small: two layers of 32, a few dozen updates.
SMALL_MOVES = (
    "model.new={hidden_size: 32, num_layers: 2, num_attention_heads: 2, intermediate_size: 64}",
    "train={epochs: null, steps: 20, batch_tokens: 512, eval_every: 10, save_every: 10, log_every: 5}",
    "train.precision=float32",
    "data.held_out=0.3",
    "data.max_length=200",
)


def games(count: int, *, seed: int = 1, plies: tuple[int, int] = (8, 24)) -> list[Game]:
    """Games of a player who takes what it can."""
    random = np.random.default_rng(seed)
    player, made = CapturePlayer(random), []
    for number in range(count):
        position = Position()
        for _ in range(int(random.integers(*plies))):
            move = player.choose([position])[0]
            if move is None:
                break
            position.push(move)
        made.append(Game(position.history, ("1-0", "0-1", "1/2-1/2", "*")[number % 4]))
    return made


def write(path: Path, count: int = 60, **choices: Any) -> Path:
    """Such games as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_games(path, games(count, **choices))
    return path


def write_samples(folder: Path) -> None:
    """The files that the documentation speaks of: games.jsonl and positions.jsonl."""
    write(folder / "games.jsonl", 80)
    rows = [
        {"fen": "4k4/R8/9/9/9/9/9/9/8R/3K5 w", "moves": "i1i9", "kind": "mate"},
        {"fen": "4k4/9/9/9/4r4/9/4R4/9/9/3K5 w", "moves": "e3e5", "kind": "endgame"},
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "positions.jsonl").write_text("".join(lines), encoding="utf-8")


def model_of(form: Form = "moves", *, results: bool = False, seed: int = 0, **choices: Any) -> MoveModel:
    """A model with weights large enough to have opinions."""
    vocabulary = MoveVocabulary(form, results=results)
    sizes = {"hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    parts = {"position": "rotary", "heads": ("lm",), "mask": "causal", "type_vocab_size": 0}
    model = Transformer(ModelConfig(**({"vocab_size": vocabulary.vocab_size} | sizes | parts | choices)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return MoveModel(model, vocabulary, name=f"tiny-{form}")


def save(model: MoveModel, folder: Path, **facts: Any) -> Path:
    """The model as a checkpoint directory."""
    from nlpx.io import write_json
    from nlpx.models.checkpoints.save import save_model

    save_model(model.model, folder)
    write_json(folder / MOVES_FILE, model.vocabulary.to_dict() | {"held_out": 0.3} | facts)
    return folder
