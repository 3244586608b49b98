"""What a run's configuration changes against its preset, or against the defaults where it had none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.configuration import presets
from nlpx.errors import UserError

if TYPE_CHECKING:
    from nlpx.runs.folder import RunFolder


def changes(run: RunFolder) -> list[dict[str, Any]] | None:
    """Return key, value and the preset's value for each difference; None if the preset can no longer be read."""
    import yaml

    manifest = run.manifest
    chain = manifest.get("presets") or [None]
    try:
        schema = presets.schema_of(str(manifest.get("command")))
        before = presets.resolve(schema, preset=_reference(chain[-1])).to_dict()
        after = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (UserError, OSError, yaml.YAMLError):
        return None
    found = presets.differences(before, after)
    return [{"key": key, "value": _shown(new), "preset": _shown(old)} for key, old, new in found]


def _reference(label: str | None) -> str | None:
    """The name or file by which a preset is found again, from what the manifest calls it."""
    if label is None or not label.startswith("presets/"):
        return label
    shipped = presets.presets_folder() / Path(label).relative_to("presets")
    return str(shipped) if shipped.is_file() else label


def _shown(value: object) -> str | None:
    return None if value is None else f"`{value}`"
