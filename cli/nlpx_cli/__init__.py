"""The command line of nlpx: parsing and printing only. No heavy import at module level."""

import sys


def _refuse_a_stranger() -> None:
    """End with one sentence if the `nlpx` that Python finds is the other project of that name."""
    try:
        import nlpx
    except Exception as error:  # the other one may need what is not there
        distribution, where = None, f"cannot be imported ({error})"
    else:
        distribution, where = getattr(nlpx, "DISTRIBUTION", None), f"is {nlpx.__file__ or list(nlpx.__path__)}"
    if distribution != "nlpx-zh":
        print(
            f"Error: the package `nlpx` {where}, not that of nlpx-zh, which this command belongs to\n"
            "  pip uninstall nlpx, then pip install --force-reinstall --no-deps nlpx-zh",
            file=sys.stderr,
        )
        raise SystemExit(4)


_refuse_a_stranger()
