"""Building shards once: found again by what they were made of, taken up where a killed build left off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nlpx.data.corpus.flatten import Counts
from nlpx.data.corpus.pieces import Reading
from nlpx.data.opening.sources import Source
from nlpx.data.shards.reading import INDEX, TOKENIZER, Shards, open_shards
from nlpx.data.shards.recipe import Recipe, differences, key_of, recipe
from nlpx.data.shards.work import num_items, plan, repeatable
from nlpx.data.shards.workers import BuildSettings, make_shards
from nlpx.errors import InputError, UsageError
from nlpx.io import parse_json, write_json
from nlpx.messages import Messages

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer

LOCK = ".lock"
MANY_UNKNOWN = 0.05  # of all tokens; a vocabulary that fits its language has well below 1 %


def build_shards(
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    *,
    reading: Reading,
    directory: Path | None = None,
    workers: int = 1,
    whole_words: bool = True,
    held_out: float = 0.01,
    messages: Messages,
) -> Shards:
    """The tokenized corpus, built by `workers` processes unless it is there already.

    Without `directory` it lies in the user's cache, in a folder named after corpus, tokenizer and settings (see
    `shard_recipe.recipe`). Stdin is copied there first, so that the same input is found again. The fraction
    `held_out` of the documents is held out by a hash of their text; another fraction needs no new shards.

    Raises InputError for a corpus without text, a `directory` that holds other shards and shards that were
    damaged, MachineError if a worker process dies. Programs that ask for several workers need the usual
    `if __name__ == "__main__":`.
    """
    if not 0 <= held_out < 1:
        raise UsageError(f"held_out is {held_out}: it is a fraction of the documents, from 0 to below 1")
    place = cache_folder() / "shards" if directory is None else directory.absolute().parent
    with repeatable(sources, place, reading) as files:
        made_of = recipe(files, tokenizer, reading=reading, whole_words=whole_words)
        folder = place / key_of(made_of) if directory is None else directory
        if _is_finished(folder, made_of):
            messages.detail(f"the tokenized corpus was found in {folder}")
        else:
            order = BuildSettings(folder, tokenizer, reading, whole_words)
            with _alone(folder, messages):
                if not _is_finished(folder, made_of):  # the other one may have done it
                    _build(files, order, made_of, workers=workers, messages=messages)
    shards = open_shards(folder, held_out=held_out)
    _warn(shards, messages)
    return shards


def cache_folder() -> Path:
    """Where nlpx keeps what it can make again: `NLPX_CACHE`, else `nlpx` in `XDG_CACHE_HOME` or `~/.cache`."""
    own, general = os.environ.get("NLPX_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(general) if general else Path.home() / ".cache") / "nlpx"


def _is_finished(folder: Path, made_of: Recipe) -> bool:
    """Whether all shards are there; raises InputError if what is there is something else."""
    way_out = "name another folder, or delete this one"
    try:
        index = parse_json((folder / INDEX).read_text(encoding="utf-8"))
        found, shards = dict(index["made_of"]), index["shards"]
    except FileNotFoundError:
        # Hidden files are those of a build that has only just begun.
        if folder.exists() and not all(file.name.startswith(".") for file in folder.iterdir()):
            raise InputError(f"{folder} holds files, but no tokenized corpus", hint=way_out) from None
        return False
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder / INDEX} cannot be read", hint=way_out) from None
    different = differences(made_of, found)
    if different:
        raise InputError(f"{folder} holds shards of another {', another '.join(different)}", hint=way_out)
    return shards is not None


@contextmanager
def _alone(folder: Path, messages: Messages) -> Iterator[None]:
    """Wait until no other process builds these shards, and clear away what a killed one left half-made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            messages.note(f"another process is building {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            messages.detail("this system has no file locks: do not build the same shards twice at once")
        for leftover in folder.glob(".*.tmp"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        yield


def _build(files: Sequence[Source], order: BuildSettings, made_of: Recipe, *, workers: int, messages: Messages) -> None:
    description = {"made_of": made_of, "sources": [source.name for source in files]}
    order.folder.mkdir(parents=True, exist_ok=True)
    write_json(order.folder / INDEX, description | {"shards": None})
    order.tokenizer.save(order.folder / TOKENIZER)
    total, names = Counts(), []
    with messages.progress(num_items(files), "tokenizing") as progress:
        for name, counts in make_shards(plan(files, order.reading), order, workers=workers):
            names.append(name)
            total = _sum(total, counts)
            progress.update(len(names), tokens=f"{total.num_tokens:,}")
    if not total.num_tokens:
        raise InputError(
            f"no text in {', '.join(source.name for source in files)}",
            hint="check the files, and which field of their rows holds the text",
        )
    write_json(order.folder / INDEX, description | {"counts": asdict(total), "shards": sorted(names)})


def _sum(first: Counts, second: Counts) -> Counts:
    return Counts(*(getattr(first, part.name) + getattr(second, part.name) for part in fields(Counts)))


def _warn(shards: Shards, messages: Messages) -> None:
    facts = shards.facts
    if facts["empty_texts"]:
        messages.warn(f"{facts['empty_texts']:,} of {facts['texts']:,} texts are empty and are left out")
    fraction = facts["unknown_fraction"]
    if fraction > MANY_UNKNOWN:
        messages.warn(f"{fraction:.1%} of the tokens are [UNK]: the vocabulary does not fit the corpus")
