"""The extractor: what it computes, what it must not depend on, and that no fold has seen its own documents."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.nn import functional

from nlpx.spaces.extract import above
from nlpx.spaces.extractor import Extractor, GatedConvolution, loss, padded, probabilities
from nlpx.spaces.fitting import Example, fit, folds
from nlpx.spaces.sentences import Span


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With random weights everywhere, the scales that begin at 0 included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def test_a_new_layer_changes_nothing():
    states, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(GatedConvolution(4, 2)(states, mask), states)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_layer_computes_its_formula(dilation):
    layer = shaken(GatedConvolution(4, dilation)).double()
    states = torch.randn(1, 7, 4, dtype=torch.float64)
    weight, bias = layer.convolution.weight, layer.convolution.bias
    at = functional.pad(states[0], (0, 0, dilation, dilation))
    for place in range(7):
        seen = torch.stack([at[place + dilation * step] for step in range(3)], dim=-1)  # (H, 3)
        values, gates = ((weight * seen).sum((1, 2)) + bias).chunk(2)
        normed = functional.layer_norm(values * gates.sigmoid(), (4,), layer.norm.weight, layer.norm.bias)
        wanted = states[0, place] + layer.scale * normed
        found = layer(states, torch.ones(1, 7, dtype=torch.bool))[0, place]
        assert torch.allclose(found, wanted, atol=1e-12)


def test_padding_and_neighbours_in_a_batch_change_nothing():
    model = shaken(Extractor(6, 4)).double()
    documents = [torch.randn(length, 6, dtype=torch.float64) for length in (3, 9, 1)]
    vectors, mask = padded(documents)
    together = model(vectors, mask)
    for row, document in enumerate(documents):
        alone = model(document[None], torch.ones(1, len(document), dtype=torch.bool))[0]
        assert torch.allclose(together[row, : len(document)], alone, atol=1e-12)


def test_padding_has_no_part_in_the_loss():
    logits, labels = torch.tensor([[0.3, -2.0, 9.0]]), torch.tensor([[True, False, True]])
    mask = torch.tensor([[True, True, False]])
    wanted = -(torch.sigmoid(torch.tensor(0.3)).log() + torch.sigmoid(torch.tensor(2.0)).log()) / 2
    assert float(loss(logits, labels, mask)) == pytest.approx(float(wanted))


def test_probabilities_are_means_over_extractors():
    models, vectors = [shaken(Extractor(6, 4), seed) for seed in (1, 2)], torch.randn(5, 6)
    one, other = (probabilities([model], vectors) for model in models)
    assert probabilities(models, vectors) == pytest.approx([(a + b) / 2 for a, b in zip(one, other, strict=True)])
    assert probabilities(models, torch.zeros(0, 6)) == []


@pytest.mark.parametrize(("num_documents", "num_folds"), [(10, 3), (4, 4), (31, 15)])
def test_every_document_is_in_one_fold_of_equal_size(num_documents, num_folds):
    found = folds(num_documents, num_folds, seed=7)
    sizes = Counter(found)
    assert sorted(sizes) == list(range(num_folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert found == folds(num_documents, num_folds, seed=7)


def _examples(count: int = 12) -> list[Example]:
    """Clauses are to be taken whose first number is above 0: something that can be learned."""
    generator = torch.Generator().manual_seed(3)
    vectors = [torch.randn(6, 8, generator=generator) for _ in range(count)]
    return [Example(one, one[:, 0] > 0) for one in vectors]


def _right(model: Extractor, examples: list[Example]) -> float:
    found = [torch.tensor(probabilities([model], one.vectors)) > 0.5 for one in examples]
    return float(torch.stack([guess == one.labels for guess, one in zip(found, examples, strict=True)]).float().mean())


def test_what_can_be_learned_is_learned_and_the_best_epoch_kept():
    train, dev = _examples()[:9], _examples()[9:]
    options = {"epochs": 30, "batch_size": 4, "learning_rate": 0.02, "seed": 5}
    model, scores = fit(train, lambda model: _right(model, dev), **options)
    assert len(scores) == 30
    assert _right(model, dev) == max(scores) > 0.8
    again, _ = fit(train, lambda model: _right(model, dev), **options)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_an_empty_extract_falls_back_to_the_best_clauses():
    spans = [Span(number, number + 1, text) for number, text in enumerate("春夏秋冬")]
    assert [one.span.text for one in above(spans, [0.1, 0.5, 0.2, 0.4], 0.3, 1)] == ["夏", "冬"]
    assert [one.span.text for one in above(spans, [0.1, 0.05, 0.2, 0.15], 0.3, 2)] == ["秋", "冬"]
    assert above([], [], 0.3, 2) == []
