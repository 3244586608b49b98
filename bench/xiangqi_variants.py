"""What choices for a model of moves are worth: moves or characters, all moves or the winner's, mirrored games or not.

Small models learn by `nlpx chess-lm train`, each from nothing, with as many updates and as many games in one of them
(a game in characters is four times as many tokens); `nlpx chess-lm evaluate` then measures them on games held out.

    python bench/xiangqi_variants.py --data GAMES [--steps 2000] [--hidden-size 128] [--games 200] [--pairs 10]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rounds import SHARED, last_json_line, markdown

BATCH_TOKENS = 2048  # of moves
PHASES = ("all", "opening, plies 1-20", "middle, plies 21-60", "late, from ply 61")
VARIANTS: dict[str, tuple[str, ...]] = {
    "moves, all, mirrored": (),
    "moves, all": ("data.mirror=0",),
    "moves, winner's, mirrored": ("data.learn=winner",),
    "moves, with results, mirrored": ("data.results=true",),
    "characters, all, mirrored": (
        "data.tokens=characters",
        "data.max_length=1024",
        f"train.batch_tokens={4 * BATCH_TOKENS}",
    ),
}  # fmt: skip


def trained(name: str, options: argparse.Namespace) -> Path:
    """The best checkpoint of a variant; one that is there already is not made again."""
    run: Path = options.folder / name.replace(", ", "-").replace(" ", "-").replace("'", "")
    if not (run / "report.md").exists():
        size = options.hidden_size
        own = (f"train.steps={options.steps}", f"train.batch_tokens={BATCH_TOKENS}", "train.save_every=null",
               f"train.eval_every={options.steps}", f"model.new.hidden_size={size}",
               f"model.new.intermediate_size={4 * size}")  # fmt: skip
        given = [word for each in (*own, *VARIANTS[name], *options.set) for word in ("--set", each)]
        nlpx(
            "train", "--preset", "chess-lm/moves", "--data", str(options.data), "--out", str(run), "--overwrite", *given
        )
    return run / "checkpoints" / "best"


def measured(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What `nlpx chess-lm evaluate` says of it."""
    words = (
        "--games",
        str(options.games),
        "--pairs",
        str(options.pairs),
        "--against",
        "random",
        "--against",
        "capture",
    )
    return nlpx("evaluate", str(options.data), "--model", str(model), *words)


def nlpx(*words: str) -> dict[str, Any]:
    """One command of `nlpx chess-lm`, and the object that it prints."""
    return last_json_line([sys.executable, "-m", "nlpx_cli", "chess-lm", *words, "--json", "--quiet"])


def row(name: str, found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    masters, written = found["masters"], found["written"]
    whole = masters["all"]
    return [
        name,
        *(f"{100 * masters[phase]['top_1']:.1f}" for phase in PHASES),
        f"{100 * whole['top_5']:.1f}",
        f"{whole['perplexity']:.1f}",
        f"{100 * whole['legal_first']:.1f}",
        f"{written['mean_plies']:.1f}",
        *(f"{match['elo']:+.0f} ({match['low']:+.0f} to {match['high']:+.0f})" for match in found["matches"]),
    ]


def main() -> int:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "xiangqi_games.jsonl.gz")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("runs/xiangqi-variants"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of training")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    if not options.data.is_file():
        print(f"no games in {options.data}: name a file with --data", file=sys.stderr)
        return 3
    found = {}
    for name in options.variants:
        found[name] = measured(trained(name, options), options)
        print(name, json.dumps(found[name]["masters"]["all"]), file=sys.stderr, flush=True)
    columns = ("model", "first choice, %", "opening", "middle", "late", "among five", "perplexity", "legal first",
               "plies until illegal", "Elo against random", "against captures")  # fmt: skip
    print(markdown(columns, [row(name, each) for name, each in found.items()]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
