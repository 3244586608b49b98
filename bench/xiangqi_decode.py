"""How fast a model of moves plays: one game against transformers' `generate`, sixteen at once, and what rules cost.

A GPT of 4 layers x 256 with random weights, one token a move, so that neither side can gain by ending early.

1. One game: CPU seconds a token of our decoding with the cache (with the legal moves of each position, which the peer
   does not know) against `generate` of transformers' GPT-2 of the same shape with its cache, and against ours without.
2. Sixteen games at once against one, in plies a second.
3. The share of a ply that finding the legal moves takes, for both forms of tokens.

    python bench/xiangqi_decode.py [--plies 100] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import Variant, in_process, markdown, ratios, spread

from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.xiangqi.model.move_model import MoveModel
from nlpx.xiangqi.model.tokens import Form, MoveVocabulary
from nlpx.xiangqi.rules.board import Position

HIDDEN, LAYERS, HEADS, LONGEST = 256, 4, 4, 512
AT_ONCE = 16


def ours(form: Form = "moves") -> MoveModel:
    """Our model in the peer's shape: learned positions, norms before the parts."""
    torch.manual_seed(0)
    vocabulary = MoveVocabulary(form)
    config = ModelConfig(
        vocab_size=vocabulary.vocab_size,
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=LONGEST,
        norm_place="pre",
        norm_eps=1e-5,
        embedding_norm=False,
        lm_transform=False,
        type_vocab_size=0,
        heads=("lm",),
        mask="causal",
    )
    return MoveModel(Transformer(config), vocabulary)


def peer() -> Any:
    """transformers' GPT-2 of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=MoveVocabulary("moves").vocab_size,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=LONGEST,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def play(model: MoveModel, num_games: int, num_plies: int) -> list[Position]:
    """Games of a given number of plies, drawn by chance from the model's legal moves."""
    reader, random = model.read(), np.random.default_rng(0)
    games = [Position() for _ in range(num_games)]
    for _ in range(num_plies):
        for place, (position, ranking) in enumerate(zip(games, reader.rank(games), strict=True)):
            if ranking.moves:
                position.push(ranking.moves[int(random.choice(len(ranking.moves), p=ranking.probabilities()))])
            else:
                games[place] = Position()  # a rare early end: another game takes its place
    return games


def generate(model: Any, num_tokens: int) -> None:
    """The peer's sampling with its cache."""
    start = torch.zeros(1, 1, dtype=torch.long)
    model.generate(start, max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=True, use_cache=True)


def without_cache(model: MoveModel, num_tokens: int) -> None:
    """Ours, reading everything anew for each token."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    with torch.inference_mode():
        for _ in range(num_tokens):
            logits = model.model(ids, lm_positions=torch.tensor([ids.shape[1] - 1])).logits
            ids = torch.cat([ids, logits.softmax(dim=-1).multinomial(1)], dim=1)


def seconds_for_rules(positions: Sequence[Position], repeats: int = 20) -> float:
    """CPU seconds of one list of legal moves."""
    begin = time.process_time()
    for _ in range(repeats):
        for position in positions:
            position.legal_moves()
    return (time.process_time() - begin) / repeats / len(positions)


def measure(plies: int, rounds: int) -> dict[str, Any]:
    """All variants in turn."""
    moves, characters, gpt = ours("moves"), ours("characters"), peer()
    work: list[tuple[str, int, Callable[[], object]]] = [
        ("one game, moves", plies, lambda: play(moves, 1, plies)),
        ("transformers generate", plies, lambda: generate(gpt, plies)),
        ("ours without cache", plies, lambda: without_cache(moves, plies)),
        ("16 games, moves", AT_ONCE * plies, lambda: play(moves, AT_ONCE, plies)),
        ("one game, characters", plies, lambda: play(characters, 1, plies)),
        ("16 games, characters", AT_ONCE * plies, lambda: play(characters, AT_ONCE, plies)),
    ]
    variants: list[Variant] = [(name, run) for name, _, run in work]
    times = in_process(variants, time.process_time, rounds)
    per_ply = {
        name: [seconds / count for seconds in taken] for (name, count, _), taken in zip(work, times, strict=True)
    }
    rules = seconds_for_rules(play(moves, 8, 40))
    return {"per_ply": per_ply, "rules": rules}


def report(found: dict[str, Any]) -> str:
    """The tables in Markdown."""
    per_ply, rules = found["per_ply"], found["rules"]
    speeds = [(name, f"{1 / statistics.median(taken):,.0f}") for name, taken in per_ply.items()]
    one, many = per_ply["one game, moves"], per_ply["16 games, moves"]
    compared = [
        ("one game over transformers generate", spread(ratios(per_ply["transformers generate"], one)), "1.7"),
        ("one game over ours without cache", spread(ratios(per_ply["ours without cache"], one)), ""),
        ("16 games over one", spread(ratios(one, many)), "8"),
        (
            "the same, characters",
            spread(ratios(per_ply["one game, characters"], per_ply["16 games, characters"])),
            "",
        ),
    ]
    shares = [
        (name, f"{100 * rules / statistics.median(per_ply[name]):.1f} %", "5 %")
        for name in ("one game, moves", "one game, characters")
    ]
    return "\n\n".join(
        (
            markdown(("variant", "plies per CPU second"), speeds),
            markdown(("ratio", "median (range)", "goal"), compared),
            markdown(("legal moves, share of a ply", "share", "goal"), shares),
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plies", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.plies, options.rounds)
    print(report(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
