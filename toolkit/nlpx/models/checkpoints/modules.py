"""`modules.json` of a sentence-transformers directory: its parts in their order, the encoder among them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from nlpx.errors import InputError
from nlpx.first_bytes import refuse_placeholder
from nlpx.io import write_json

FILE = "modules.json"
_PACKAGE = "sentence_transformers."


@dataclass(frozen=True, slots=True)
class Module:
    """One part: the class that it was made by, and the folder of its files."""

    type: str
    folder: Path

    @property
    def kind(self) -> str:
        """The name of the class; its whole path for one that sentence-transformers does not ship."""
        return self.type.rpartition(".")[2] if self.type.startswith(_PACKAGE) else self.type


def read_modules(folder: Path) -> list[Module]:
    """The parts of a directory, none if it is no sentence-transformers directory.

    Raises `InputError` for a file that is no list of them, and for a folder outside of the directory.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    refuse_placeholder(path)
    try:
        entries = sorted(json.loads(path.read_text(encoding="utf-8")), key=lambda entry: int(entry["idx"]))
        modules = [Module(str(entry["type"]), folder / str(entry["path"])) for entry in entries]
        inside = [module.folder.resolve().is_relative_to(folder.resolve()) for module in modules]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError):
        raise InputError(
            f"{path}: not a list of modules with idx, path and type", hint="copy or download it again"
        ) from None
    for module, is_inside in zip(modules, inside, strict=True):
        if not is_inside:
            raise InputError(f"{path}: {module.folder} is outside of the directory", hint="copy or download it again")
    return modules


def write_modules(directory: Path, *, pooling: str, max_length: int) -> None:
    """Make a checkpoint a sentence-transformers directory: its states pooled by `mean` or `cls`."""
    (directory / "1_Pooling").mkdir(exist_ok=True)
    entries = [
        {"idx": 0, "name": "0", "path": "", "type": f"{_PACKAGE}models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_PACKAGE}models.Pooling"},
    ]
    write_json(directory / "1_Pooling" / "config.json", {"pooling_mode": pooling})
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    write_json(directory / FILE, entries)


def copy_modules(source: Path, target: Path) -> None:
    """What a directory has beside its encoder, into one whose encoder lies in it: the parts after it, length, prompts.

    Nothing for a directory that sentence-transformers did not write.
    """
    modules = read_modules(source)
    if not modules or modules[0].kind != "Transformer":
        return
    entries = json.loads((source / FILE).read_text(encoding="utf-8"))
    for entry in entries:
        if source / str(entry["path"]) == modules[0].folder:
            entry["path"] = ""
    for module in modules[1:]:
        if module.folder.is_dir() and module.folder != source:
            shutil.copytree(module.folder, target / module.folder.relative_to(source), dirs_exist_ok=True)
    for path in (source / "config_sentence_transformers.json", *modules[0].folder.glob("sentence_*_config.json")):
        if path.is_file():
            shutil.copy(path, target / path.name)
    write_json(target / FILE, entries)


def encoder_folder(folder: Path) -> Path:
    """Where the encoder of a directory lies: in it, or, in older sentence-transformers ones, in `0_Transformer`."""
    modules = read_modules(folder)
    return modules[0].folder if modules and modules[0].kind == "Transformer" else folder
