"""What holds for every test: no deadline, no chance, and Ctrl-C that reaches whatever a test starts."""

from __future__ import annotations

import signal

import hypothesis

# A deadline would measure the machine. The same examples every time: a failure is then the change's, not the draw's.
hypothesis.settings.register_profile("nlpx", deadline=None, derandomize=True)
hypothesis.settings.load_profile("nlpx")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that interrupt a command would
# wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
