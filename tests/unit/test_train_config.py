"""Settings of a run: defaults, contradictions, and no torch until it trains."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from nlpx.train.config import TrainConfig


def test_one_of_each_pair_has_a_default():
    config = TrainConfig()
    assert (config.epochs, config.steps) == (3, None)
    assert (config.batch_tokens, config.batch_size) == (4096, None)


def test_a_choice_replaces_the_default_of_its_rival():
    config = TrainConfig(steps=7, batch_size=4)
    assert (config.epochs, config.steps) == (None, 7)
    assert (config.batch_tokens, config.batch_size) == (None, 4)


def test_resolved_settings_can_be_read_back():
    for config in (TrainConfig(), TrainConfig(steps=7, batch_size=4, eval_every=5, patience=2)):
        assert TrainConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": 1, "steps": 2}, "`epochs` and `steps`"),
        ({"batch_tokens": 1, "batch_size": 2}, "`batch_tokens` and `batch_size`"),
        ({"max_batch_size": 1, "batch_size": 2}, "`max_batch_size` and `batch_size`"),
        ({"patience": 3, "eval_every": None}, "patience"),
        ({"precision": "float16"}, "precision"),
        ({"eval_every": "day"}, "eval_every"),
        ({"accumulation": 0}, "accumulation"),
        ({"steps": -1}, "steps"),
    ],
)
def test_contradictions_and_nonsense_are_refused(settings, named):
    with pytest.raises(ValidationError, match=named):
        TrainConfig.model_validate(settings)


def test_every_field_says_what_it_does():
    assert all(field.description for field in TrainConfig.model_fields.values())


def test_configuration_needs_no_torch():
    code = (
        "import sys; from nlpx.train.config import TrainConfig; from nlpx.optim.config import OptimConfig; "
        "import nlpx.tricks.ema, nlpx.losses.cross_entropy, nlpx.optim.schedule, nlpx.optim.groups; "
        "from nlpx.tricks import conflict; import nlpx.train.watch, nlpx.train.interrupt, nlpx.train.precision; "
        "TrainConfig(); OptimConfig(); conflict(['ema']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("key", ["epochs=2", "steps=2", "batch_size=4", "batch_tokens=512", "max_batch_size=8"])
def test_no_either_or_pair_blames_a_shipped_file(key):
    from nlpx.configuration.files import preset_names
    from nlpx.configuration.presets import resolve, schema_of

    for name in preset_names():
        resolved = resolve(schema_of(name.split("/")[0]), preset=name, overrides=[f"train.{key}"])
        assert getattr(resolved.config.train, key.partition("=")[0]) == int(key.partition("=")[2])
