"""A small language model trained with everything a run can be asked to do, for tests only.

As a script it trains in processes of its own, also under torchrun: `transformer_run.py OUT RUNS.json`, one run after
the other. Settings are those of `build`; `stop` ends a run early, `save` and `load` are directories below OUT, `twice`
doubles the forward passes, `evaluate` looks at the model between steps. OUT receives what each process saw, and the
whole weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.objectives import ObjectiveOutput
from nlpx.optim.config import OptimConfig
from nlpx.train import distributed
from nlpx.train.config import TrainConfig
from nlpx.train.loop import prepare, train
from nlpx.train.sharding import whole
from nlpx.train.step import evaluation_weights
from nlpx.tricks.ema import Config as EmaConfig
from processes import torchrun as launch

VOCAB, NUM_ROWS, LENGTH = 31, 60, 9

generator = torch.Generator().manual_seed(4)
ROWS = torch.randint(3, VOCAB, (NUM_ROWS, LENGTH), generator=generator)


def collate(rows):
    token_ids = ROWS[rows]
    positions = torch.arange(len(rows)) * LENGTH + torch.tensor(rows) % LENGTH
    targets = token_ids.flatten()[positions]
    hidden = token_ids.clone()
    hidden.view(-1)[positions] = 2
    return {"token_ids": hidden, "positions": positions, "targets": targets, "num_targets": len(rows)}


def objective(model, batch):
    logits = model(batch["token_ids"], lm_positions=batch["positions"]).logits
    return ObjectiveOutput(functional.cross_entropy(logits.float(), batch["targets"]))


def double(model, batch):
    """Two forward passes before one backward pass."""
    return ObjectiveOutput((objective(model, batch).loss + objective(model, batch).loss) / 2)


def build_model(*, dropout=0.1, seed=3, **choices):
    torch.manual_seed(seed)
    shape = {"hidden_size": 15, "num_layers": 3, "num_attention_heads": 3, "intermediate_size": 22, "key_size": 6}
    rates = {"hidden_dropout": dropout, "attention_dropout": dropout}
    values = {"vocab_size": VOCAB, "heads": ("lm",), "position": "rotary", "pooler": "tanh"} | shape | rates | choices
    return Transformer(ModelConfig(**values))


def build(*, model=None, optim=None, ema=False, seed=3, **settings):
    """A fresh run and its configuration."""
    torch.set_num_threads(1)
    defaults = {"steps": 10, "batch_size": 7, "precision": "float32", "max_gradient_norm": 0.5}
    config = TrainConfig.model_validate(defaults | settings)
    chosen = {"learning_rate": 0.01, "schedule": {"warmup_steps": 3}} | (optim or {})
    training = prepare(
        build_model(**(model or {})),
        lengths=[LENGTH] * NUM_ROWS,
        config=config,
        optim=OptimConfig.model_validate(chosen),
        tricks={"ema": EmaConfig(decay=0.8)} if ema else {},
        seed=seed,
    )
    return training, config


def run(training, config, *, stop=None, objective=objective, evaluate=False):
    """Train to the end, or to step `stop`; losses, lengths of gradients, and an evaluation every 3 steps."""
    losses, norms, scores = [], [], []
    for info in train(training, objective=objective, collate=collate, config=config):
        losses.append(info.loss)
        norms.append(info.gradient_norm)
        if evaluate and info.step % 3 == 0:
            scores.append(score(training))
        if info.step == stop:
            break
    return losses, norms, scores


def score(training):
    """The loss over some rows with the weights to evaluate, in the first process only."""
    with evaluation_weights(training.model, training.tricks), torch.no_grad():
        if not distributed.is_main():
            return None
        training.model.eval()
        return float(objective(training.model, collate(list(range(10)))).loss)


def weights(training):
    """Copies of the whole weights, and of those to evaluate."""
    with whole(training.model):
        found = {name: value.detach().clone() for name, value in training.model.state_dict().items()}
    with evaluation_weights(training.model, training.tricks):
        shown = {f"shown/{name}": value.detach().clone() for name, value in training.model.state_dict().items()}
    return found | shown


def torchrun(out, runs, *, processes=2):
    """These runs, one after the other, in a group of processes; what they found lies in `out` then."""
    (out / "runs.json").write_text(json.dumps(runs))
    launch(__file__, str(out), str(out / "runs.json"), processes=processes)


def one_run(out=None, *, stop=None, save=None, load=None, twice=False, evaluate=False, **settings):
    training, config = build(**settings)
    if load:
        training.load(out / load)
    chosen = double if twice else objective
    found = run(training, config, stop=stop, objective=chosen, evaluate=evaluate)
    if save:
        training.save(out / save)
    return found, weights(training)


def main():
    out, runs = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    with distributed.process_group():
        for name, settings in runs.items():
            found, whole_weights = one_run(out, **settings)
            seen = distributed.gather(found)
            if distributed.is_main():
                save_file(whole_weights, out / f"{name}.safetensors")
                (out / f"{name}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
