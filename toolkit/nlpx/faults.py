"""What the system refuses, as errors that a user can act on: a full disk, rights, names, limits. None is a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nlpx.errors import InputError, MachineError, UserError, shown

_SPACE = (MachineError, "no space left on the disk", "free some space")
_RIGHTS = (InputError, "permission denied", "check the owner and rights of the file")
_TOO_LARGE = "the file would be larger than the disk or a limit allows"
# By number: not every one has a class of its own in Python.
FAULTS: dict[int | None, tuple[type[UserError], str, str]] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: (MachineError, _TOO_LARGE, "write to another disk"),
    errno.EROFS: (MachineError, "the disk is read-only", "write to another one"),
    errno.EIO: (MachineError, "the disk cannot be read or written", "look at the system's log"),
    errno.EMFILE: (MachineError, "too many open files", "raise the limit: ulimit -n"),
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENAMETOOLONG: (InputError, "the name is longer than the system allows", "give it a shorter one"),
    errno.EISDIR: (InputError, "a folder, where a file is expected", "name the file"),
    errno.ENOTDIR: (InputError, "a part of this path is a file, not a folder", "check the path"),
    errno.ELOOP: (InputError, "links that lead to each other", "check the path"),
}


def fault_of(error: BaseException) -> UserError | None:
    """The error to show in place of one of the system's; None for any other."""
    if not isinstance(error, OSError) or error.errno not in FAULTS:
        return None
    if error.filename is None and error.errno in (errno.EACCES, errno.EPERM):  # not about a file
        return None
    kind, what, hint = FAULTS[error.errno]
    return kind(f"{shown(error.filename or 'output')}: {what}", hint=hint)


def refuse_unwritable(target: str | Path) -> None:
    """Raise `InputError` before the work if nothing can be written at `target`, so that none of it is lost.

    Its folder need not be there yet.
    """
    if Path(target).exists() and not Path(target).is_file() and not Path(target).is_dir():  # /dev/null, a pipe
        return
    folder = Path(target).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{shown(target)}: {folder} is a file, not a folder", hint="check the path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{shown(target)}: {folder} may not be written to", hint="name another place")
