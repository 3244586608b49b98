"""Where sentences end: a pure function of the text that loses nothing."""

from __future__ import annotations

import re

_ENDS = "。！？!?；;…"
_CLOSING = "”’\"'）)】〕》〉」』］]"

# A sentence reaches to its ends, the quotes and brackets closed behind them, and the blanks after that; a line break
# ends it too, but what opens the next line stays there. A text may stop without any of this.
_SENTENCE = re.compile(rf"[^{_ENDS}\n]*+(?:(?:[{_ENDS}]+[{re.escape(_CLOSING)}]*)+\s*|\n\s*)|[^{_ENDS}\n]+")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, in order; joined they are `text` again, character for character.

    A sentence ends after 。！？!?；;… and the quotes and brackets closed there, or at a line break; white space
    that follows belongs to it. What stands after the last end is a sentence too (bert4keras' pipeline loses it).
    """
    return _SENTENCE.findall(text)
