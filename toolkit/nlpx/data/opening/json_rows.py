"""One JSON object a line: parsed strictly, refused by its place."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from nlpx.data.opening.refusals import ARRAY_HINT, NUL, SURROGATE, bad_row
from nlpx.errors import InputError

UNUSABLE = re.compile("[\ud800-\udfff\0]")
NOT_JSON_HINT = (
    "is this JSON lines? an object over several lines is joined by: jq -c . FILE; `--input-format` names another format"
)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_object(text: str, place: str) -> dict[str, Any]:
    """Return the object of a line. Raises InputError for anything else, and for strings that are no text."""
    try:
        values = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise not_json(error, place, text) from None
    if not isinstance(values, dict):
        raise bad_row(place, f"a JSON {type_name(values)}, not an object", row=text, hint=ARRAY_HINT)
    # Only escapes can smuggle these past the decoder, so most rows skip the walk.
    if "\\u" in text:
        _check_strings(values, place, text)
    return values


def not_json(error: Exception, place: str, text: str, *, hint: str | None = None) -> InputError:
    """Return the error for a line that the JSON decoder refused."""
    if isinstance(error, json.JSONDecodeError):
        what = f"not JSON (column {error.colno}: {error.msg})"
    elif isinstance(error, RecursionError):
        what = "not JSON (nested too deeply)"
    else:
        what = f"not JSON ({str(error).split(':')[0]})"
    return bad_row(place, what, row=text, **({} if hint is None else {"hint": hint}))


def type_name(value: object) -> str:
    """What JSON calls a value."""
    if isinstance(value, list):
        return "array"
    if isinstance(value, dict):
        return "object"
    return "string" if isinstance(value, str) else "null" if value is None else "number or boolean"


def _check_strings(value: object, place: str, text: str) -> None:
    if isinstance(value, str):
        found = UNUSABLE.search(value)
        if found is not None:
            raise bad_row(place, f"holds {NUL if found.group() == chr(0) else SURROGATE}", row=text)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key, place, text)
            _check_strings(item, place, text)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item, place, text)
