"""What reading decided by itself (an encoding, a header, a copy in a cache), for people to see.

The readers lie below whatever speaks with people, and are called from generators far from any job; so the command
line sets `listener`, and without one (in a program, in a worker process) nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable

listener: Callable[[str], None] | None = None
bars = True  # whether bars of other libraries suit the listener
_noted: set[str] = set()


def note(text: str) -> None:
    """Tell the listener, the same words only once."""
    if listener is not None and text not in _noted:
        _noted.add(text)
        listener(text)


def listen(new: Callable[[str], None] | None, *, with_bars: bool = True) -> None:
    """Send notes to `new` from now on; what another listener was told counts as not yet said."""
    global listener, bars
    listener, bars = new, with_bars
    _noted.clear()
