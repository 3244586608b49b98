"""`nlpx presets`: list, show, check and compare presets without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlpx.configuration import files as preset_files
from nlpx.errors import UsageError
from nlpx_cli.console import Console
from nlpx_cli.options import Json, Set, complete_presets

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved, Section

app = typer.Typer(no_args_is_help=True, help="List, show, check and compare presets.")

_Name = Annotated[
    str, typer.Argument(help="A name, a YAML file or a run folder.", metavar="PRESET", autocompletion=complete_presets)
]
_For = Annotated[
    str | None,
    typer.Option("--for", help="The command it is for.  [default: by its folder or parent]", metavar="COMMAND"),
]


def register(parent: typer.Typer) -> None:
    """Add `nlpx presets`."""
    parent.add_typer(app, name="presets")


@app.command("list")
def list_presets(json: Json = False) -> None:
    """List the shipped presets, one line each.

    \b
    Examples:
      nlpx presets list
      nlpx presets list --json | jq -r .preset
    """
    names = preset_files.preset_names()
    root = preset_files.presets_folder()
    summaries = (preset_files.summary(root / f"{name}.yaml") for name in names)
    rows = [{"preset": name, "summary": text} for name, text in zip(names, summaries, strict=True)]
    Console(json=json).listing(rows)


@app.command("show")
def show(
    preset: _Name,
    set_: Set = None,
    section: Annotated[str | None, typer.Option("--section", help="Only this part, such as optim.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value comes from.")] = False,
    command: _For = None,
    json: Json = False,
) -> None:
    """Print a preset with all parents and defaults merged.

    --set changes it first; the YAML printed is a preset again.

    \b
    Examples:
      nlpx presets show finetune/sohu > mine.yaml
      nlpx presets show finetune/sohu --section optim --origin
      nlpx presets show finetune/sohu --set tricks.ema.decay=0.99
    """
    from nlpx.configuration.presets import configuration_error, examine

    console = Console(json=json)
    resolved, problems = examine(_schema(preset, command), preset=preset, overrides=set_ or ())
    if resolved is not None:
        _print(console, resolved, section=section, origin=origin)
    if problems:  # the valid part was shown all the same: error messages refer to this listing
        raise configuration_error(problems)


@app.command("check")
def check(
    presets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or files.  [default: all shipped presets]", metavar="PRESET...", autocompletion=complete_presets
        ),
    ] = None,
    command: _For = None,
    json: Json = False,
) -> None:
    """Check presets and report every error with its line.

    Prints one line per preset; exit code 2 if one has an error.

    \b
    Examples:
      nlpx presets check
      nlpx presets check mine.yaml --for finetune
    """
    console = Console(json=json)
    errors = {name: _error_of(name, command) for name in presets or _shipped()}
    console.listing([{"preset": name, "state": "ok" if error is None else "wrong"} for name, error in errors.items()])
    found = [error for error in errors.values() if error is not None]
    if found:
        raise UsageError("\n".join(str(error) for error in found))


@app.command("diff")
def diff(first: _Name, second: _Name, command: _For = None, json: Json = False) -> None:
    """List the settings in which two presets or runs differ.

    \b
    Examples:
      nlpx presets diff finetune/sohu mine.yaml
      nlpx presets diff runs/first runs/second --json
    """
    from nlpx.configuration.presets import differences, resolve

    configurations = [resolve(_schema(name, command), preset=name).to_dict() for name in (first, second)]
    changes = differences(*configurations)
    rows = [{"key": key, "first": _plain(left, json), "second": _plain(right, json)} for key, left, right in changes]
    Console(json=json).listing(rows)


def _schema(preset: str, command: str | None) -> type[Section]:
    from nlpx.configuration.presets import schema_of

    group = command or preset_files.group_of(preset_files.find(preset))
    if group is None:
        hint = f"name it with --for: {', '.join(preset_files.groups()) or 'finetune'}"
        raise UsageError(f"{preset}: which command is this preset for?", hint=hint)
    return schema_of(group)


def _shipped() -> list[str]:
    groups = preset_files.groups()
    return [name for name in preset_files.preset_names() if name.split("/")[0] in groups]


def _error_of(preset: str, command: str | None) -> Exception | None:
    from nlpx.configuration.presets import resolve
    from nlpx.errors import UserError

    try:
        resolve(_schema(preset, command), preset=preset)
    except UserError as error:
        return error
    return None


def _print(console: Console, resolved: Resolved, *, section: str | None, origin: bool) -> None:
    from nlpx.configuration.presets import flatten
    from nlpx.configuration.registry import unknown
    from nlpx.configuration.tree import dump

    data = resolved.to_dict()
    if section is not None and section not in data:
        message, hint = unknown("section", section, data)
        raise UsageError(message, hint=hint)
    data = data if section is None else {section: data[section]}
    if origin:
        values = flatten(data).items()
        json = console.mode == "json"
        console.listing([{"key": k, "value": _plain(v, json), "origin": resolved.origins[k]} for k, v in values])
    elif console.mode == "json":
        console.result({"presets": resolved.chain, "config": data}, value="")
    else:
        console.text(dump(data))


def _plain(value: Any, json: bool) -> Any:
    """In a table, text for anything but text: `null` and `1e-05` as YAML has them."""
    import json as json_module

    return value if json or isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)
