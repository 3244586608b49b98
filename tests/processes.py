"""Groups of processes on this machine: over the loopback interface, at a port that nobody else has, for tests only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

# Else each process looks up the machine's own name, which need not lead back to it. Linux calls it lo, macOS lo0.
LOOPBACK = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
# The launcher listens at a port that the system chose, and its processes meet there.
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1")


def environment() -> dict[str, str]:
    """What a process of a group finds in its environment beside what this one has."""
    interface = {} if LOOPBACK is None else {"GLOO_SOCKET_IFNAME": LOOPBACK}
    return {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"} | interface


def torchrun(*words: str, processes: int = 2) -> None:
    """Run a script, or `-m` and a module, in a group; fails with what the processes said."""
    command = [*TORCHRUN, f"--nproc-per-node={processes}", *words]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", env=os.environ | environment()
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-20000:]}"
