"""What `nlpx list` says comes from the plug-ins, and short names find them."""

from __future__ import annotations

import pytest

from nlpx.configuration import registry
from nlpx.configuration.listing import FOLDERS, listing
from nlpx.configuration.presets import Flag, resolve
from nlpx.errors import UsageError
from nlpx.jobs.finetune import Config


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_plugin_has_a_row_with_the_same_columns(kind):
    rows = listing(kind)
    assert [row["name"] for row in rows] == registry.plugins(FOLDERS[kind])
    assert all(row["what"] and not row["what"].endswith((".", ")")) for row in rows)
    assert len({tuple(row) for row in rows}) == 1


def test_conflicts_hold_both_ways():
    apart = {name: registry.load("tricks", name).CONFLICTS for name in registry.plugins("tricks")}
    assert all(name in apart[other] for name, others in apart.items() for other in others)


def tricks(*overrides: str, flag: str | None = None) -> list[str]:
    flags = {"tricks": Flag(flag, "--tricks", yields=True)}
    return list(resolve(Config, preset="finetune/classify", overrides=overrides, flags=flags).config.tricks)


def test_names_with_commas_take_the_place_of_the_presets():
    assert tricks(flag="rdrop,fgm,ema") == ["r_drop", "fgm", "ema"]
    assert tricks("tricks=R-Drop+ema") == ["r_drop", "ema"]
    assert tricks(flag="none") == []
    assert tricks(flag="ema") == ["ema"]


def test_their_settings_come_from_set():
    config = resolve(
        Config,
        preset="finetune/classify",
        overrides=["tricks.rdrop.alpha=2"],
        flags={"tricks": Flag("rdrop", "--tricks", yields=True)},
    ).config
    assert list(config.tricks) == ["r_drop"]
    assert config.tricks["r_drop"].alpha == 2


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="unknown trick `floding`") as caught:
        tricks(flag="floding,ema")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean `flooding`")
    with pytest.raises(UsageError, match="a name given twice"):
        tricks(flag="rdrop,r_drop")


def test_class_weights_are_a_word_or_numbers():
    def weights(value: str) -> object:
        overrides = ["loss=focal", f"loss_options.class_weights={value}"]
        return resolve(Config, preset="finetune/classify", overrides=overrides).config.loss_options.class_weights

    assert weights("balanced") == "balanced"
    assert weights("[1, 2.5]") == (1.0, 2.5)
