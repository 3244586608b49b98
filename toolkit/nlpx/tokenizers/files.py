"""The JSON files of a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nlpx.errors import InputError
from nlpx.first_bytes import refuse_placeholder


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, empty if there is none. Raises `InputError` for anything that is no JSON object."""
    if not path.is_file():
        return {}
    refuse_placeholder(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\ud" in text.lower():  # half of a pair of escapes is valid JSON, and no text
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}", hint="restore the file from its release") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object", hint="restore the file from its release")
    return content
