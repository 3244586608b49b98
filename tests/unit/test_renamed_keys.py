"""Old names of keys: taken, placed where they stand, and refused beside the new one."""

from __future__ import annotations

import pytest

from nlpx.configuration.presets import resolve
from nlpx.errors import UsageError
from nlpx.jobs.pretrain import Config


def test_renamed_keys_keep_working_under_their_old_names(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("objectives:\n  mlm:\n    mask_share: 0.6\n")
    resolved = resolve(Config, preset=str(file), overrides=["objectives.mlm.random_share=0.2"])
    settings = resolved.config.objectives["mlm"]
    assert (settings.mask_fraction, settings.random_fraction) == (0.6, 0.2)
    assert resolved.origins["objectives.mlm.mask_fraction"] == f"{file}:3"
    assert resolved.origins["objectives.mlm.random_fraction"] == "--set"
    over = resolve(Config, preset=str(file), overrides=["objectives.mlm.mask_fraction=0.5"])
    assert over.config.objectives["mlm"].mask_fraction == 0.5
    file.write_text("objectives:\n  - mlm: {mask_share: 0.6, mask_fraction: 0.6}\n")
    with pytest.raises(UsageError, match="`mask_share` is an earlier name of `mask_fraction`"):
        resolve(Config, preset=str(file))
