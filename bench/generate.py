"""Generation: tokens per CPU second, one thread, against transformers' `generate` with its cache.

GPT-2's kind with 4 layers x 256 and a vocabulary of 8,000, random weights, the same for all; prompts of 8 tokens and 32
new ones, greedy and by 4 beams, one text and 16 at once. CTranslate2 runs the same model as `convert` writes it, if the
extra is there. Before anything is timed the answers are compared: float32 must give the peer's tokens, the others print
how many agree.

    python bench/generate.py [--batches 1 16] [--beams 1 4] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch
from rounds import in_process, markdown, ratios, spread

from nlpx import load_model
from nlpx.decode.generation import CausalDecoder, GenerationSettings, generate
from nlpx.decode.generation.formats import Format, ready_to_decode

VOCABULARY, PROMPT, NEW = 8000, 8, 32
PEER = "transformers, float32"


def peer() -> Any:
    """transformers' model, with weights large enough that its choices are clear."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 512}
    model = GPT2LMHeadModel(GPT2Config(initializer_range=0.1, bos_token_id=0, eos_token_id=0, **sizes)).eval()
    model.generation_config.eos_token_id = None  # all answers have the same length
    return model


Answers = Callable[[list[list[int]], GenerationSettings], list[list[int]]]


def writers(theirs: Any) -> dict[str, Answers]:
    """What answers prompts by variant: our decoder in each number format, and CTranslate2."""
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        model = load_model(folder, head="lm")
    found = {
        f"nlpx, {name}": _ours(CausalDecoder(ready_to_decode(copy.deepcopy(model), name))) for name in get_args(Format)
    }
    if find_spec("ctranslate2") is not None:
        found |= {f"CTranslate2, {name}": _by_ctranslate2(model, name) for name in ("float32", "int8")}
    return found


def _ours(decoder: CausalDecoder) -> Answers:
    return lambda prompts, settings: [best[0].token_ids for best in generate(decoder, prompts, settings, end_ids=())]


def _by_ctranslate2(model: Any, weights: Any) -> Answers:
    from nlpx.decode.generation.ctranslate2.engine import Engine
    from nlpx.decode.generation.ctranslate2.export import export

    with tempfile.TemporaryDirectory() as folder:
        export(model, [f"t{index}" for index in range(VOCABULARY)], Path(folder), weights=weights)
        engine = Engine(Path(folder), num_threads=1, seed=0)

    def answers(prompts: list[list[int]], settings: GenerationSettings) -> list[list[int]]:
        # Its end is one of the vocabulary: no answer may come to it, so that all have the same length.
        longest = settings.model_copy(update={"min_new_tokens": settings.max_new_tokens})
        found = engine.answer(prompts, longest, end_ids=[0], banned=[])
        return [best[0].token_ids for best in found]

    return answers


def measure(theirs: Any, found: dict[str, Answers], batch: int, beams: int, rounds: int) -> dict[str, list[float]]:
    """New tokens per CPU second of each variant in each round."""
    prompts = torch.randint(1, VOCABULARY, (batch, PROMPT), generator=torch.Generator().manual_seed(batch))
    settings = GenerationSettings(max_new_tokens=NEW, num_beams=beams)
    options = {"max_new_tokens": NEW, "num_beams": beams, "length_penalty": 0.0, "do_sample": False, "pad_token_id": 0}

    def of_peer() -> Any:
        with torch.inference_mode():
            return theirs.generate(prompts, attention_mask=torch.ones_like(prompts), **options)[:, PROMPT:].tolist()

    def asked(answers: Answers) -> Callable[[], Any]:
        return lambda: answers(prompts.tolist(), settings)

    variants = {PEER: of_peer} | {name: asked(answers) for name, answers in found.items()}
    expected = of_peer()
    for name, work in variants.items():
        same = sum(one == other for one, other in zip(work(), expected, strict=True))
        print(f"batch {batch}, beams {beams}, {name}: {same} of {batch} answers are the peer's", file=sys.stderr)
        if "float32" in name and same < batch:
            raise SystemExit("the answers are not the same")
    seconds = in_process(list(variants.items()), time.process_time, rounds)
    return {name: [batch * NEW / value for value in values] for name, values in zip(variants, seconds, strict=True)}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    theirs = peer()
    found, rows, figures = writers(theirs), [], {}
    for batch in options.batches:
        for beams in options.beams:
            speeds = measure(theirs, found, batch, beams, options.rounds)
            figures[f"batch {batch}, beams {beams}"] = speeds
            for name, values in speeds.items():
                ratio = "" if name == PEER else spread(ratios(values, speeds[PEER]))
                rows.append([batch, beams, name, f"{statistics.median(values):,.0f}", ratio])
    print(markdown(("batch", "beams", "variant", "tokens per CPU second", "ratio (smallest-largest)"), rows))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
