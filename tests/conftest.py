"""What holds for every test: no deadline, no chance, and Ctrl-C that reaches whatever a test starts."""

from __future__ import annotations

import os
import signal

import hypothesis

# One thread in each process, before torch counts the cores: several tests at once gain more than several threads in
# one, and sums come out the same on every machine.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

# A deadline would measure the machine. The same examples every time: a failure is then the change's, not the draw's.
hypothesis.settings.register_profile("nlpx", deadline=None, derandomize=True)
hypothesis.settings.load_profile("nlpx")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that interrupt a command would
# wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
