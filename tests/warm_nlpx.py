"""`nlpx` for the tests of the documentation: real command lines in real shells, without importing torch each time.

One server process imports the heavy modules once. The `nlpx` of the shell is the client below: it hands its words, its
folder, its environment and its three streams to the server, which forks a child that runs `main` on them. Everything
else is as for a user: pipes, redirections, exit codes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

CLIENT = """#!{python} -IS
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = sys.argv[1:]
settings = {settings!r}
if "--resume" not in words:
    for count in (1, 2):  # a command is one word, or two
        added = settings.get(" ".join(words[:count]), [])
        words[count:count] = added[2:] if added[:1] == ["--model"] and {{"--model", "--preset"}} & {{*words}} else added
call = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
server.sendmsg([len(call).to_bytes(8, "big")], [streams])
server.sendall(call)
sys.exit(int(server.makefile().read() or 70))
"""


def write_client(path: Path, *, address: str, settings: dict[str, list[str]]) -> None:
    """An executable `nlpx`; `settings` of a command come before the words of each new run, so that its own win.

    A `--model` at their head is for lines that name neither model nor preset.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CLIENT.format(python=sys.executable, address=address, settings=settings), encoding="utf-8")
    path.chmod(0o755)


def serve(address: str) -> None:
    """Answer calls until killed."""
    with suppress(ImportError):  # an extra
        import matplotlib.backends.backend_agg  # noqa: F401
    import torch._dynamo  # noqa: F401 - what the first optimizer would import
    import transformers  # noqa: F401

    import nlpx.configuration.presets
    import nlpx.embed.encoder
    import nlpx.jobs.chess_lm.evaluate
    import nlpx.jobs.chess_lm.held_out
    import nlpx.jobs.chess_lm.job
    import nlpx.jobs.convert
    import nlpx.jobs.finetune.job
    import nlpx.jobs.inspect
    import nlpx.jobs.pretrain.evaluation
    import nlpx.jobs.pretrain.job
    import nlpx.models.checkpoints.backbone
    import nlpx.models.checkpoints.load
    import nlpx.report.build
    import nlpx.runs.following
    import nlpx.runs.inference
    import nlpx.tokenizers.char
    import nlpx.tokenizers.word
    import nlpx.xiangqi.model.measures
    import nlpx.xiangqi.model.move_model
    import nlpx.xiangqi.play.session
    import nlpx.xiangqi.play.uci  # noqa: F401

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children leave no zombies
    while True:
        call, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _answer(call)
        call.close()


def _answer(call: socket.socket) -> None:
    code = 70  # as the client's: `main` was left without an exit code
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, streams, *_ = socket.recv_fds(call, 8, 3)
        words, folder, environment = json.loads(_exactly(call, int.from_bytes(head, "big")))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["nlpx", *words]
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8", closefd=False) for number, mode in enumerate("rww")
        )
        from nlpx_cli.__main__ import main

        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        call.sendall(str(code).encode())
        os._exit(code)


def _exactly(call: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        parts += call.recv(size - len(parts))
    return bytes(parts)


if __name__ == "__main__":
    serve(sys.argv[1])
