"""Tokens that were added to a vocabulary: found whole in a text, before anything else cuts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nlpx.errors import InputError
from nlpx.tokenizers.files import read_json

_LISTS = ("extra_special_tokens", "additional_special_tokens")  # transformers 5 renamed the second
_LARGEST_ID = 1 << 24  # beyond any word table; a list of so many entries still fits memory


@dataclass(frozen=True, slots=True)
class AddedToken:
    """One of them, with the settings of the `tokenizers` library.

    `normalized`: found in the text after lower-casing and the like, not as it was written. `single_word`: only where
    no letter touches it. `lstrip` and `rstrip`: blanks on that side belong to it. `is_piece`: the vocabulary had it
    before, so a word can be cut into it as well.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False
    is_piece: bool = False


Added = dict[int, AddedToken]  # by id


def read_added(folder: Path) -> Added:
    """What the files of a checkpoint say was added, by id.

    Read are `added_tokens` of tokenizer.json, `added_tokens_decoder` of tokenizer_config.json (or of what nlpx saved)
    and, where neither is there, `added_tokens.json`. Raises `InputError` for an entry that is no token with an id.
    """
    found: Added = {}
    path = folder / "tokenizer.json"
    for entry in _of_type(list, read_json(path).get("added_tokens"), path, "added_tokens"):
        found |= _entry(entry.get("id") if isinstance(entry, Mapping) else None, entry, path)
    for path in (folder / "tokenizer_config.json", folder / "nlpx_tokenizer.json"):
        decoder = read_json(path).get("added_tokens_decoder")
        for index, entry in _of_type(dict, decoder, path, "added_tokens_decoder").items():
            found |= _entry(index, entry, path)
    if found:
        return found
    # Those that are listed under the older name count as written by users, as transformers 5 has it: found in any case.
    special = _names_of_special(folder, _LISTS[:1])
    path = folder / "added_tokens.json"
    for content, index in read_json(path).items():
        flags = {"normalized": content not in special, "special": content in special}
        found |= _entry(index, {"content": content, **flags}, path)
    return found


def listed_special(folder: Path) -> list[AddedToken]:
    """Further special tokens that are only named: whole where the vocabulary has them."""
    return [AddedToken(name, special=True) for name in _names_of_special(folder, _LISTS)]


def as_json(token: AddedToken) -> dict[str, Any]:
    """As `added_tokens_decoder` of tokenizer_config.json holds it."""
    values = asdict(token)
    del values["is_piece"]
    return values


def with_added(tokens: list[str], added: Added, *, source: str) -> list[str]:
    """The entries with the added ones on their rows; rows that nobody names stay blank.

    Raises `InputError` if a row has another entry already.
    """
    tokens = list(tokens)
    for index, token in sorted(added.items()):
        tokens += [""] * (index + 1 - len(tokens))
        if tokens[index] not in ("", token.content):
            raise InputError(
                f"{source}: row {index} is `{tokens[index]}`, and `{token.content}` was added with the same id",
                hint="take all tokenizer files from the same release of the model",
            )
        tokens[index] = token.content
    return tokens


def _entry(index: Any, entry: Any, path: Path) -> Added:
    content = entry.get("content") if isinstance(entry, Mapping) else None
    number = int(index) if str(index).isdecimal() else -1
    if not isinstance(content, str) or not content or not 0 <= number <= _LARGEST_ID:
        raise InputError(f"{path}: an added token must have a text and an id: {index}: {entry!r}"[:300])
    known = {field.name: entry[field.name] for field in fields(AddedToken) if field.name in entry}
    known.pop("is_piece", None)
    for name, value in known.items():
        if name != "content" and not isinstance(value, bool):
            raise InputError(f"{path}: `{name}` of the added token {index} must be true or false, not {value!r}")
    return {number: AddedToken(**known)}


def _of_type(kind: type[Any], value: Any, path: Path, key: str) -> Any:
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{path}: `{key}` is no {'object' if kind is dict else 'list'}")
    return kind() if value is None else value


def _names_of_special(folder: Path, lists: Sequence[str]) -> list[str]:
    names: dict[str, None] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        content = read_json(folder / file)
        for key in lists:
            listed = content.get(key) or []
            names |= dict.fromkeys(filter(None, map(content_of, listed if isinstance(listed, list) else [])))
    return list(names)


def content_of(token: Any) -> str | None:
    """The text of a special token, which is written as such or as an object that has it."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) and content else None
