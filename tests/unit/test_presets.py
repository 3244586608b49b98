"""Merging, typing and checking of configuration, with a schema of its own so that the engine is tested alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from nlpx.configuration import files as preset_files
from nlpx.configuration import registry
from nlpx.configuration.presets import (
    Flag,
    PluginName,
    Plugins,
    PluginSettings,
    Section,
    differences,
    examine,
    find,
    flatten,
    group_of,
    resolve,
)
from nlpx.errors import InputError, UsageError


class Rule(Section):
    pattern: str
    scale: float = 1.0


class Optim(Section):
    learning_rate: PositiveFloat = 2e-5
    name: Literal["adamw", "lamb"] = "adamw"
    rules: tuple[Rule, ...] = ()
    points: dict[int, float] | None = None


class Train(Section):
    steps: PositiveInt | None = 100
    every: PositiveInt | Literal["epoch"] | None = "epoch"
    compile: bool = False

    @model_validator(mode="after")
    def _check(self) -> Train:
        if self.compile and self.steps is None:
            raise ValueError("`compile` needs `steps`")
        return self


class Config(Section):
    task: Annotated[str, PluginName("tasks")]
    task_options: Annotated[Any, PluginSettings("tasks", named_by="task")] = Field(default_factory=dict)
    data: str | None = None
    label: str = "plain"
    files: list[str] = Field(default_factory=list)
    optim: Optim = Optim()
    train: Train = Train()
    tricks: Annotated[dict[str, Any], Plugins("tricks")] = Field(default_factory=dict)
    seed: int = 7


class RdropConfig(Section):
    alpha: PositiveFloat = 4.0


class EmaConfig(Section):
    decay: float = Field(0.999, ge=0, lt=1)


class PairConfig(Section):
    variant: str = "ssA"
    pooling: Literal["mean", "first"] = "mean"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"tricks": {"rdrop": RdropConfig, "ema": EmaConfig}, "tasks": {"pair": PairConfig}}
    monkeypatch.setattr(registry, "plugins", lambda folder: sorted(folders[folder]))
    monkeypatch.setattr("nlpx.configuration.section.plugin_config", lambda folder, name: folders[folder][name])


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def message_of(**arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(Config, **arguments)
    return str(caught.value)


# --- merging


def test_precedence_and_origins(write):
    write("task: pair\nseed: 1\noptim:\n  learning_rate: 1e-4\n  name: lamb\n", "base.yaml")
    child = write("extends: base.yaml\nseed: 2\noptim:\n  learning_rate: 2e-4\ntrain: {steps: 10}\n")
    resolved = resolve(Config, preset=child, overrides=["optim.learning_rate=3e-4"], flags={"seed": 9, "data": None})
    assert resolved.config.optim.learning_rate == 3e-4
    assert resolved.config.optim.name == "lamb"
    assert (resolved.config.seed, resolved.config.data) == (9, None)
    folder = Path(child).parent
    assert resolved.chain == [str(folder / "base.yaml"), child]
    assert resolved.origins["seed"] == "--seed"
    assert resolved.origins["optim.learning_rate"] == "--set"
    assert resolved.origins["optim.name"] == f"{folder / 'base.yaml'}:5"
    assert resolved.origins["train.steps"] == f"{child}:5"
    assert resolved.origins["train.every"] == "default"


def test_flag_may_have_another_option_name():
    resolved = resolve(Config, overrides=["task=pair"], flags={"data": Flag(Path("rows.jsonl"), "--data-file")})
    assert resolved.config.data == "rows.jsonl"
    assert resolved.origins["data"] == "--data-file"


def test_a_flag_that_yields_may_be_changed_in_part():
    given = {"tricks": Flag([{"rdrop": {"alpha": 2}}], "--trick", yields=True)}
    resolved = resolve(Config, overrides=["task=pair", "tricks.rdrop.alpha=5"], flags=given)
    assert resolved.config.tricks == {"rdrop": RdropConfig(alpha=5)}
    firm = {"tricks": Flag([{"rdrop": {"alpha": 2}}], "--trick")}
    resolved = resolve(Config, overrides=["task=pair", "tricks.rdrop.alpha=5"], flags=firm)
    assert resolved.config.tricks == {"rdrop": RdropConfig(alpha=2)}


def test_tricks_as_list_or_mapping(write):
    preset = write("task: pair\ntricks: [ema, {rdrop: {alpha: 2}}]\n")
    assert resolve(Config, preset=preset).config.tricks == {"ema": EmaConfig(), "rdrop": RdropConfig(alpha=2)}
    more = resolve(Config, preset=preset, overrides=["tricks.rdrop.alpha=5", "tricks.ema=null"]).config.tricks
    assert more == {"rdrop": RdropConfig(alpha=5)}
    assert list(resolve(Config, preset=preset, overrides=["tricks=[rdrop,ema]"]).config.tricks) == ["rdrop", "ema"]
    added = write("extends: mine.yaml\ntricks:\n  rdrop: {alpha: 3}\n", "child.yaml")
    assert list(resolve(Config, preset=added).config.tricks) == ["ema", "rdrop"]


def test_a_list_of_tricks_replaces_the_parents(write):
    write("task: pair\ntricks: [ema]\n", "base.yaml")
    child = write("extends: ./base.yaml\ntricks:\n- rdrop\n")
    assert list(resolve(Config, preset=child).config.tricks) == ["rdrop"]


def test_setting_a_field_adds_the_trick():
    tricks = resolve(Config, overrides=["task=pair", "tricks.rdrop.alpha=4", "tricks.ema="]).config.tricks
    assert tricks == {"rdrop": RdropConfig(alpha=4), "ema": EmaConfig()}


def test_plugin_settings_follow_the_name_in_any_order(write):
    preset = write("task_options:\n  variant: 007\ntask: pair\n")
    assert resolve(Config, preset=preset).config.task_options == PairConfig(variant="007")
    assert resolve(Config, overrides=["task=pair"]).config.task_options == PairConfig()


# --- words and types


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("optim.learning_rate=1e-3", "optim.learning_rate", 1e-3),
        ("optim.learning_rate=1", "optim.learning_rate", 1.0),
        ("label=off", "label", "off"),
        ("label=1e-3", "label", "1e-3"),
        ("label=true", "label", "true"),
        ("label=", "label", ""),
        ("label=a: b # c", "label", "a: b # c"),
        ("label=*.txt", "label", "*.txt"),
        ("label=@name", "label", "@name"),
        ("label='quoted'", "label", "quoted"),
        ("data=null", "data", None),
        ("data=no", "data", "no"),
        ("train.steps=null", "train.steps", None),
        ("seed=null", "seed", 7),
        ("train.compile=off", "train.compile", False),
        ("train.compile=yes", "train.compile", True),
        ("train.every=5", "train.every", 5),
        ("train.every=epoch", "train.every", "epoch"),
        ("files=[1, 数据.txt, off]", "files", ["1", "数据.txt", "off"]),
        ("optim.rules=[{pattern: '*.bias', scale: 0}]", "optim.rules", [{"pattern": "*.bias", "scale": 0.0}]),
        ("optim.points={0: 0, 10: 1e0}", "optim.points.10", 1.0),
    ],
)
def test_values_are_read_for_the_type_of_the_field(override, key, expected):
    resolved = resolve(Config, overrides=["task=pair", override])
    assert flatten(resolved.to_dict())[key] == expected


def test_numbers_in_files_too(write):
    preset = write("task: pair\nlabel: 1e5\noptim: {learning_rate: 5e-5}\ntrain:\n  compile: no\n")
    config = resolve(Config, preset=preset).config
    assert (config.label, config.optim.learning_rate, config.train.compile) == ("1e5", 5e-5, False)


def test_the_written_configuration_resolves_to_itself(write):
    overrides = ["task=pair", "label=1e-3", "data=null", "files=[off, '3', 数据]", "optim.learning_rate=1e-7"]
    overrides += ["tricks=[rdrop, {ema: {decay: 0.5}}]", "train.every=3", "optim.points={0: 0, 5: 1}"]
    first = resolve(Config, overrides=overrides)
    text = first.to_yaml()
    again = resolve(Config, preset=write(text, "config.yaml"))
    assert again.config == first.config
    assert again.to_yaml() == text
    assert list(again.config.tricks) == ["rdrop", "ema"]
    assert "数据" in text
    assert set(flatten(again.to_dict())) == set(again.origins)
    assert "default" not in again.origins.values()


# --- errors


def test_every_problem_at_once_with_its_place(write):
    preset = write(
        "task: pair\noptim:\n  leraning_rate: 1e-3\n  name: adam\ntricks:\n  rdorp: {}\n  ema:\n    decay: 2\n"
    )
    message = message_of(preset=preset, overrides=["train.steps=0", "learning_rate=1"])
    assert f"{preset}:3:3: unknown key `optim.leraning_rate`\n  did you mean `learning_rate`?" in message
    assert f"  see: nlpx presets show {preset} --section optim" in message
    assert f"{preset}:4:3: `optim.name` should be 'adamw' or 'lamb', not 'adam'\n  did you mean `adamw`?" in message
    assert f"{preset}:6:3: unknown trick `rdorp`\n  did you mean `rdrop`?\n  known: ema, rdrop" in message
    assert f"{preset}:8:5: `tricks.ema.decay` should be less than 1, not 2" in message
    assert "--set train.steps=0: `train.steps` should be greater than 0, not 0" in message
    assert "--set learning_rate=1: unknown key `learning_rate`\n  did you mean `optim.learning_rate`?" in message
    assert len([line for line in message.splitlines() if not line.startswith("  ")]) == 6


def test_missing_and_unknown_plugin_names(write):
    preset = write("seed: 3\n")
    assert f"{preset}: `task` is required" in message_of(preset=preset)
    assert "--set task=par: unknown task `par`\n  did you mean `pair`?" in message_of(overrides=["task=par"])


def test_rules_between_keys_are_reported_at_their_section(write):
    preset = write("task: pair\ntrain:\n  steps: null\n  compile: true\n")
    assert message_of(preset=preset).startswith(f"{preset}:2:1: `train`: `compile` needs `steps`")


def test_wrong_type_inside_a_list_item(write):
    preset = write("task: pair\noptim:\n  rules:\n    - pattern: x\n      scale: wide\n")
    assert f"{preset}:5:7: `optim.rules.0.scale` should be a valid number, not 'wide'" in message_of(preset=preset)
    message = message_of(preset=write("task: pair\noptim:\n  rules:\n    - patern: x\n"))
    assert f"{preset}:4:7: `optim.rules.0.pattern` is required\n{preset}" in message
    assert f"{preset}:4:7: unknown key `optim.rules.0.patern`\n  did you mean `pattern`?" in message


def test_a_value_in_place_of_a_section():
    message = message_of(overrides=["task=pair", "train=5"])
    assert message == "--set train=5: `train` should be a mapping of keys to values, not 5"


def test_either_kind_of_a_union_is_named():
    message = message_of(overrides=["task=pair", "train.every=0"])
    assert message == "--set train.every=0: `train.every` should be greater than 0 or 'epoch', not 0"


def test_settings_of_the_plugin_are_checked(write):
    preset = write("task: pair\ntask_options:\n  pooling: max\n  varaint: x\n")
    message = message_of(preset=preset)
    assert f"{preset}:3:3: `task_options.pooling` should be 'mean' or 'first', not 'max'" in message
    assert f"{preset}:4:3: unknown key `task_options.varaint`\n  did you mean `variant`?" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: [a\n", ":2:1: not valid YAML"),
        ("task: pair\ntask: pair\n", ":2:1: `task` is given twice"),
        ("- task\n", ":1:1: a preset maps keys to values"),
        ("task: !!python/name:os.system x\n", ":1:7: the tag"),
        ("task: &a [*a]\n", ": nested too deeply"),
        ("task: pair\ntricks: [ema, ema]\n", ":2:15: not one name, or a name given twice"),
        ("extends: [a]\n", ":1:1: `extends` names one parent"),
        ("extends: mine.yaml\n", ":1:1: `extends` leads back to"),
        ("extends: nowhere.yaml\n", ":1:1: no preset file at nowhere.yaml"),
    ],
)
def test_broken_files_name_line_and_column(write, text, expected):
    preset = write(text)
    message = message_of(preset=preset)
    assert message.startswith(preset)
    assert expected in message


@pytest.mark.parametrize("argument", ["seed", "=1", "a..b=1"])
def test_override_needs_key_and_value(argument):
    assert f"--set {argument}: not of the form KEY=VALUE" in message_of(overrides=[argument])


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "gb.yaml"
    path.write_bytes("task: pair\n# 注释\n".encode("gb18030"))
    with pytest.raises(InputError, match=r"gb\.yaml:2: not UTF-8"):
        resolve(Config, preset=str(path))


def test_examine_shows_the_rest_without_what_is_wrong(write):
    preset = write("task: pair\nseed: 3\noptim: {lr: 1}\n")
    resolved, found = examine(Config, preset=preset)
    assert resolved is not None
    assert resolved.config.seed == 3
    assert [problem.path for problem in found] == [("optim", "lr")]


def test_sections_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        Optim().name = "lamb"  # type: ignore[misc]


# --- files


@pytest.fixture
def shipped(tmp_path, monkeypatch, write):
    root = tmp_path / "shipped"
    monkeypatch.setattr(preset_files, "presets_folder", lambda: root)
    for name in ("finetune/sohu", "finetune/pair", "pretrain/pair"):
        write(f"# Preset {name}\ntask: pair\n", f"shipped/{name}.yaml")
    return root


def test_find_by_name_last_part_file_and_run(shipped, write):
    assert find("finetune/sohu") == shipped / "finetune" / "sohu.yaml"
    assert find("sohu") == shipped / "finetune" / "sohu.yaml"
    assert str(find(write("seed: 1\n"))).endswith("mine.yaml")
    config = write("seed: 1\n", "run/config.yaml")
    assert str(find(str(Path(config).parent))) == config
    assert preset_files.label(find("sohu")) == "presets/finetune/sohu.yaml"


@pytest.mark.usefixtures("shipped")
def test_find_suggests():
    with pytest.raises(UsageError, match="unknown preset `finetune/sohi`") as caught:
        find("finetune/sohi")
    assert "did you mean `finetune/sohu`" in str(caught.value.hint)
    with pytest.raises(UsageError) as ambiguous:
        find("pair")
    assert "finetune/pair" in str(ambiguous.value.hint)


@pytest.mark.usefixtures("shipped")
def test_group_of_a_preset(write, monkeypatch):
    monkeypatch.setattr(registry, "names", lambda folder: ["finetune", "pretrain"])
    assert group_of(find("finetune/sohu")) == "finetune"
    assert group_of(Path(write("extends: finetune/sohu\n"))) == "finetune"
    assert group_of(Path(write("seed: 1\n", "pretrain/own.yaml"))) == "pretrain"
    assert group_of(Path(write("seed: 1\n"))) is None
    config = Path(write("seed: 1\n", "run/config.yaml"))
    write('{"command": "finetune"}', "run/manifest.json")
    assert group_of(config) == "finetune"


def test_differences():
    assert differences({"a": {"b": 1, "c": 2}, "d": []}, {"a": {"b": 1, "c": 3}, "e": 0}) == [
        ("a.c", 2, 3),
        ("d", [], None),
        ("e", None, 0),
    ]


def test_the_engine_needs_no_torch():
    modules = "sys, nlpx.configuration.presets, nlpx.configuration.problems"
    code = f"import {modules}; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Length(Section):
    ALTERNATIVES: ClassVar = (("epochs", "steps"), ("steps", "passes"))
    epochs: int | None = None
    steps: int | None = None
    passes: int | None = None


class Trained(Section):
    train: Length = Length()
    seed: int = 7


@pytest.mark.parametrize(
    ("overrides", "flags", "expected"),
    [
        (["train.steps=5"], {}, (None, 5, None)),  # the preset's epochs no longer count
        (["train.epochs=5"], {}, (5, None, None)),
        (["train.epochs=5"], {"train.steps": 2}, (5, 2, None)),  # what the user sets is left to the schema
        (["train.passes=4"], {}, (3, None, 4)),  # no alternative of epochs
        (["seed=1"], {}, (3, None, None)),
        (["train.steps=null"], {}, (3, None, None)),  # clears, chooses nothing
        (["train.epochs=5", "train.epochs=null"], {}, (None, None, None)),
    ],
)
def test_a_stronger_layer_chooses_among_alternatives(tmp_path, overrides, flags, expected):
    preset = tmp_path / "preset.yaml"
    preset.write_text("train:\n  epochs: 3\n", encoding="utf-8")
    found = resolve(Trained, preset=str(preset), overrides=overrides, flags=flags).config.train
    assert (found.epochs, found.steps, found.passes) == expected


def test_alternatives_in_one_layer_are_left_to_the_schema():
    found = resolve(Trained, flags={"train": {"epochs": 1, "steps": 2}}).config.train
    assert (found.epochs, found.steps) == (1, 2)


def test_anchors_cannot_make_more_values_than_a_preset_needs(tmp_path):
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 8))]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match=r"bomb.yaml:\d+:\d+: more than 10,000 values"):
        resolve(Config, preset=str(tmp_path / "bomb.yaml"))


@pytest.mark.parametrize("depth", [40, 5000])
def test_nesting_without_end_is_named(tmp_path, depth):
    text = "[" * depth + "]" * depth
    (tmp_path / "deep.yaml").write_text(f"steps: {text}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"deep.yaml.*nested too deeply"):
        resolve(Config, preset=str(tmp_path / "deep.yaml"))
    with pytest.raises(UsageError, match="nested too deeply" if depth > 1000 else "train.steps"):
        resolve(Config, overrides=["task=pair", f"train.steps={text}"])


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400"])
def test_a_number_without_a_value_is_refused(value):
    with pytest.raises(UsageError, match=r"finite"):
        resolve(Config, overrides=["task=pair", f"optim.learning_rate={value}"])
