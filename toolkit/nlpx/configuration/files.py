"""Where presets are: the shipped ones by name, one's own by path, each with the parents it extends."""

from __future__ import annotations

from pathlib import Path

from nlpx.configuration import registry
from nlpx.errors import InputError, UsageError
from nlpx.io import parse_json

_SUFFIXES = (".yaml", ".yml")


def presets_folder() -> Path:
    """Where the shipped presets are: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "bundled" / "presets"
    return packaged if packaged.is_dir() else package.parents[1] / "presets"


def preset_names() -> list[str]:
    """The names of all shipped presets, such as `finetune/sohu`."""
    root = presets_folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find(reference: str, *, beside: Path | None = None) -> Path:
    """The file of a preset: a shipped name, a YAML file, or a run folder. Raises `UsageError` with near names.

    Of a shipped name the last part is enough where that is unique. A relative file is looked for in the folder
    `beside` first.
    """
    for path in [*([beside / reference] if beside else []), Path(reference)]:
        if path.suffix in _SUFFIXES and path.is_file():
            return path
        if (path / "config.yaml").is_file():
            return path / "config.yaml"
    if reference.endswith(_SUFFIXES):
        raise UsageError(f"no preset file at {reference}", hint="`nlpx presets list` shows the shipped ones")
    known = preset_names()
    matches = [name for name in known if name == reference] or [n for n in known if n.endswith(f"/{reference}")]
    if len(matches) == 1:
        return presets_folder() / f"{matches[0]}.yaml"
    near = registry.did_you_mean(reference, known) or (f"did you mean {' or '.join(matches)}?" if matches else None)
    listing = f"known: {', '.join(known)}" if known else "no preset is shipped; give a YAML file"
    raise UsageError(f"unknown preset `{reference}`", hint="\n".join(filter(None, [near, listing])))


def summary(path: Path) -> str:
    """The first line of a preset if it is a comment, without the `#`."""
    with path.open(encoding="utf-8-sig") as lines:
        first = lines.readline().strip()
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _command_of(manifest: Path) -> str:
    try:
        return str(parse_json(manifest.read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{manifest}: no manifest of a run", hint="copy the whole run folder again") from None


def group_of(path: Path) -> str | None:
    """The command a preset is for: its folder under `presets/`, its parent's, or that of the run it is from."""
    root = presets_folder()
    known = groups()
    manifest = path.with_name("manifest.json")
    if path.name == "config.yaml" and manifest.is_file():
        return _command_of(manifest).partition(" ")[0]  # of `chess-lm train` the first word
    for file in reversed(lineage(path)):
        inside = file.resolve().is_relative_to(root.resolve())
        folder = file.resolve().relative_to(root.resolve()).parts[0] if inside else file.resolve().parent.name
        if folder in known:
            return folder
    return None


def groups() -> list[str]:
    """The commands that have presets: folders of presets whose name is that of a job."""
    folders = {path.parent.name for path in presets_folder().glob("*/*.yaml")}
    return sorted(folder for folder in folders if job_of(folder) in registry.names("jobs"))


def job_of(group: str) -> str:
    """The module of `nlpx.jobs` that has the schema of a group: `chess_lm` of `chess-lm`."""
    return group.replace("-", "_")


def lineage(path: Path) -> list[Path]:
    """The preset and its parents, furthest first."""
    from nlpx.configuration import tree as preset_tree

    # Not a recursion: the list of files seen so far is also what shows a circle.
    files = [path]
    while True:
        node = preset_tree.parse(read(files[0]), source=label(files[0])).value.get("extends")
        if node is None or node.value is None:
            return files
        if not isinstance(node.value, str):
            raise UsageError(f"{node.place}: `extends` names one parent, a preset or a file")
        try:
            parent = find(node.value, beside=files[0].parent)
        except UsageError as error:
            raise UsageError(f"{node.place}: {error.message}", hint=error.hint) from error
        if any(parent.resolve() == file.resolve() for file in files):
            raise UsageError(f"{node.place}: `extends` leads back to {label(parent)}", hint="remove one `extends`")
        files.insert(0, parent)


def read(path: Path) -> str:
    """The text of a preset; `InputError` with the line if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8", hint="save the preset as UTF-8") from error


def label(path: Path) -> str:
    """How a preset file is called in messages: `presets/...` for a shipped one, else the path as given."""
    root = presets_folder().resolve()
    inside = path.resolve().is_relative_to(root)
    return f"presets/{path.resolve().relative_to(root).as_posix()}" if inside else str(path)
