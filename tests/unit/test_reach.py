"""Settings by the size of a model, and warnings of settings that cannot move one."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from nlpx import bundled
from nlpx.jobs.finetune import preset_for
from nlpx.optim.config import OptimConfig
from nlpx.runs.model_size import size_of
from nlpx.runs.reach import warnings_for
from nlpx.train.config import TrainConfig
from nlpx.train.loop import prepare
from nlpx.tricks.ema import Config as EmaConfig


def test_a_copy_of_a_model_that_ships_is_as_small_as_it(tmp_path):
    shutil.copytree(bundled.path("char-tiny"), tmp_path / "mine")
    assert size_of(str(tmp_path / "mine")) == size_of("char-tiny") == (4, 256)
    assert preset_for("sohu", str(tmp_path / "mine")) == preset_for("sohu", None) == "finetune/sohu-tiny"


def test_a_run_is_as_large_as_its_best_checkpoint(tmp_path):
    shutil.copytree(bundled.path("char-tiny"), tmp_path / "run" / "checkpoints" / "best")
    assert preset_for("classify", str(tmp_path / "run")) == "finetune/classify-tiny"


@pytest.mark.parametrize(
    ("config", "preset"),
    [
        ({"hidden_size": 768, "num_hidden_layers": 12}, "finetune/sohu"),
        ({"hidden_size": 768, "num_hidden_layers": 3}, "finetune/sohu"),
        ({"hidden_size": 384, "num_hidden_layers": 6}, "finetune/sohu-tiny"),
        ({"hidden_size": "wide"}, "finetune/sohu"),
        ([1], "finetune/sohu"),
    ],
)
def test_what_a_configuration_says_decides(tmp_path, config, preset):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert preset_for("sohu", str(tmp_path)) == preset


def test_what_is_not_here_counts_as_published(tmp_path):
    assert preset_for("sohu", "org/model") == preset_for("sohu", str(tmp_path / "nowhere")) == "finetune/sohu"
    assert preset_for("sohu", "new") == "finetune/sohu-new"


def found(rate, steps, *, decay=None, **optim):
    config = OptimConfig(learning_rate=rate, **optim)
    tricks = {} if decay is None else {"ema": EmaConfig(decay=decay)}
    training = prepare(
        torch.nn.Linear(2, 2), lengths=[1] * 8, config=TrainConfig(steps=steps), optim=config, tricks=tricks
    )
    return list(warnings_for(training, config))


def test_a_rate_that_cannot_move_a_weight_is_named_with_one_that_can():
    (warning,) = found(2e-5, 20)
    assert warning.startswith("20 updates at a learning rate of 2e-05 move a weight by at most 0.0002")
    rate = float(warning.partition("--learning-rate ")[2].split()[0])
    assert found(rate * 1.05, 20) == []
    assert found(2e-5, 200) == []
    assert found(2e-5, 20, name="sgd") == []  # how far it moves is a matter of its gradients


def test_an_average_that_lags_is_named_with_one_that_follows():
    (warning,) = found(1e-3, 200, decay=0.999)
    assert "reaches back 1,000 updates and the run has 200" in warning
    assert found(1e-3, 200, decay=float(warning.rpartition("=")[2])) == []
    assert found(1e-3, 5000, decay=0.999) == []
