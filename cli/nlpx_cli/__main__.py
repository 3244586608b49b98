"""Entry point: runs the command and turns every error into one clear message and an exit code.

0 done    1 bug    2 usage or configuration    3 input    4 machine    5 result unusable    130 interrupted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nlpx import __version__
from nlpx.errors import EXIT_BUG, EXIT_INTERRUPTED, MachineError, UserError
from nlpx_cli.names import with_new_names
from nlpx_cli.terminal import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from nlpx_cli.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `nlpx` with `arguments` (default: those of the process) and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare()
    if words in (["--version"], ["-V"]):  # answered without importing Typer
        print(f"nlpx {__version__}")
        return 0
    # Threads that wait by spinning steal the cores from whatever else runs; on a busy machine that costs tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch's C++ side warns programmers, from every process and past every filter of Python.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if "--debug" in words:  # belongs to no command: it is accepted anywhere
        words.remove("--debug")
        os.environ["NLPX_DEBUG"] = "1"
    words = with_new_names(words)
    try:
        exit_code = _run(words)
        sys.stdout.flush()
    except BaseException as error:
        return _report(error, words)
    return exit_code


def _run(words: Sequence[str]) -> int:
    from nlpx_cli.console import Console

    Console.current = None  # of an earlier call in the same process
    if words[:1] == ["wordfreq"] and _counted_plainly(words[1:]):
        return 0
    from typer import Exit

    from nlpx_cli.app import build

    command = build()
    if "_NLPX_COMPLETE" in os.environ:  # the shell asks for completions; Typer answers and exits
        command.main(args=list(words), prog_name="nlpx")
    try:
        # Not `command.main`: it would turn a closed pipe into exit code 1 and Ctrl-C into an abort.
        with command.make_context("nlpx", list(words)) as context:
            command.invoke(context)
    except Exit as finished:
        return int(finished.exit_code)
    return 0


def _counted_plainly(words: Sequence[str]) -> bool:
    """Count without Typer, which takes longer to start than a small file takes to count; False: not that plain."""
    from nlpx_cli.wordfreq_options import read_plainly

    options = None if "_NLPX_COMPLETE" in os.environ else read_plainly(words)
    if options is None:
        return False
    from nlpx_cli.wordfreq_run import run

    run(options)
    return True


def _report(error: BaseException, words: Sequence[str]) -> int:
    from nlpx_cli.console import Console

    console = Console.current or Console(json="--json" in words)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else EXIT_BUG
    if isinstance(error, BrokenPipeError) and _reader_has_left():
        _silence_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt):
        console.error("interrupted", hint=getattr(error, "hint", None), exit_code=EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    if hasattr(error, "format_message"):  # Typer's own usage errors; their class has no public name
        return _usage(error, words, console=console)
    known = error if isinstance(error, UserError) else _of_the_machine(error)
    if os.environ.get("NLPX_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if known is None:
        return _bug(error, console=console)
    console.error(known.message, hint=_fitting(known.hint, words), exit_code=known.exit_code)
    return known.exit_code


def _fitting(hint: str | None, words: Sequence[str]) -> str | None:
    if hint is None or "--" not in hint:
        return hint
    from nlpx_cli.hints import fitting, options_of

    return fitting(hint, options_of(words))


def _usage(error: BaseException, words: Sequence[str], *, console: Console) -> int:
    from nlpx_cli.hints import options_of
    from nlpx_cli.names import way_out

    exit_code: int = getattr(error, "exit_code", 2)
    message: str = error.format_message()  # type: ignore[attr-defined]
    is_unknown = hasattr(error, "possibilities")  # of an option; the class has no public name either
    hint = way_out(str(getattr(error, "option_name", "")), options_of(words)) if is_unknown else None
    if "--json" in words:
        console.error(message, hint=hint or "nlpx --help", exit_code=exit_code)
        return exit_code
    error.show()  # type: ignore[attr-defined]
    if hint is not None:
        print(f"  {hint}", file=sys.stderr)
    return exit_code


def _of_the_machine(error: BaseException) -> UserError | None:
    """What an error of the system means to the user, if it is one of the known ones."""
    from nlpx.faults import fault_of

    fault = fault_of(error)
    if fault is not None:
        return fault
    # torch's class for it exists only once torch is loaded, and its CPU allocator has no class of its own.
    no_memory = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and no_memory):
        hint = "halve the batch or shorten the texts; --batch-size N sets it; --set train.batch_tokens=N counts tokens"
        return MachineError("out of memory", hint=hint)
    return None


def _bug(error: BaseException, *, console: object) -> int:
    import traceback
    from pathlib import Path

    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    message = f"this is a bug in nlpx: {what} ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    hint = f"the full traceback is in {_store_traceback(error)}\n--debug shows it here"
    console.error(message, hint=hint, exit_code=EXIT_BUG)  # type: ignore[attr-defined]
    return EXIT_BUG


def _store_traceback(error: BaseException) -> Path:
    from pathlib import Path

    runs = sys.modules.get("nlpx.runs.folder")
    run = runs.active() if runs is not None else None
    if run is not None and run.traceback.exists():  # written when the run was left
        return Path(run.traceback)
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="nlpx-traceback-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return Path(name)


def _reader_has_left() -> bool:
    # Pipes between processes break too, and that would be a bug: only a closed stdout is no error.
    import select

    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _silence_stdout() -> None:
    # What is still buffered goes to the null device, so that the interpreter's last flush prints no error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(main())
