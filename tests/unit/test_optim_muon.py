"""Muon: torch's two optimizers behind one state, each on its own parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nlpx.optim.config import OptimConfig
from nlpx.optim.groups import build_optimizer

RATE, DECAY = 0.003, 0.1
HIDDEN = ("layers.0.weight", "layers.1.weight")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.word_embeddings = nn.Embedding(7, 6)
        self.layers = nn.ModuleList([nn.Linear(6, 9), nn.Linear(9, 6)])
        self.lm_head = nn.Linear(6, 7)

    def forward(self, ids):
        return self.lm_head(self.layers[1](self.layers[0](self.word_embeddings(ids)).relu()))


def trained(make, *, steps=5):
    torch.manual_seed(0)
    model = Model()
    optimizers = make(model)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = torch.randint(7, (16,), generator=generator)
        nn.functional.cross_entropy(model(ids), (ids + 1) % 7).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return model, optimizers


def ours(model, **options):
    settings = {"name": "muon", "learning_rate": RATE, "weight_decay": DECAY, "options": options}
    return [build_optimizer(model, OptimConfig.model_validate(settings))]


def theirs(model):
    """The same by hand: Muon at ten times the rate on the maps between hidden states, AdamW on all else."""
    named = dict(model.named_parameters())
    decayed = [named[name] for name in ("word_embeddings.weight", "lm_head.weight")]
    spared = [parameter for name, parameter in named.items() if name.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": spared, "weight_decay": 0.0}]
    return [
        torch.optim.Muon([named[name] for name in HIDDEN], lr=10 * RATE, weight_decay=DECAY, momentum=0.95),
        torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6, fused=True),
    ]


def test_each_parameter_moves_as_by_torch_alone():
    mine, reference = trained(ours)[0], trained(theirs)[0]
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(dict(mine.named_parameters())[name], parameter, rtol=0, atol=0, msg=name)


def test_what_is_remembered_tells_who_moved_it():
    model, (optimizer,) = trained(ours)
    momenta = {name for name, parameter in model.named_parameters() if "momentum_buffer" in optimizer.state[parameter]}
    assert momenta == set(HIDDEN)


def test_an_excluded_matrix_takes_adamw():
    model, (optimizer,) = trained(lambda model: ours(model, exclude=["*embedding*", "*head*", "layers.0*"]))
    assert "exp_avg" in optimizer.state[model.layers[0].weight]
    assert "momentum_buffer" in optimizer.state[model.layers[1].weight]


@pytest.mark.parametrize("adjustment", ["original", "match_rms_adamw"])
def test_a_saved_state_goes_on_to_the_bit(adjustment):
    model, (optimizer,) = trained(lambda model: ours(model, adjustment=adjustment))
    other = copy.deepcopy(model)
    (restored,) = ours(other, adjustment=adjustment)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, moving in ((model, optimizer), (other, restored)):
        nn.functional.cross_entropy(each(torch.arange(7)), torch.arange(7)).backward()
        moving.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
