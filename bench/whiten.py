"""Whitening against the script that is usually written with numpy, and against scikit-learn's PCA(whiten=True).

Every fit is a process of its own, alternately, from the file to the map: wall and CPU seconds, peak memory, and the
largest entry by which the covariance of the whitened vectors differs from the identity on the directions that are kept
(those of ours that are floored are counted apart). `nlpx, command` is all of `nlpx whiten --fit`, with Python's start,
and with the wide kernels of OpenBLAS where that does not choose them itself; OPENBLAS_CORETYPE gives them to all. Then
applying a map is compared with copying the same bytes: a file read and another one written and synced.

Eigenvalues fall evenly on a logarithmic scale from 1 to 1 / CONDITION, in directions drawn by chance.

    python bench/whiten.py [--rows 1000000] [--columns 768] [--dim 768] [--condition 1e3] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rounds import in_processes, markdown, ratios, spread

Matrix = NDArray[Any]

COPY_BYTES = 8 << 20
NLPX = (sys.executable, "-m", "nlpx_cli", "whiten", "--quiet")
PEERS = ("numpy", "scikit-learn")
FITS = ("nlpx", "nlpx, command", *PEERS)


def write_data(folder: Path, rows: int, columns: int, condition: float) -> None:
    """`vectors.npy`, and `covariance.npy`: their covariance in float64, summed plainly."""
    chance = np.random.default_rng(0)
    turn = np.linalg.qr(chance.standard_normal((columns, columns)))[0]
    mixing = (np.logspace(0, -np.log10(condition) / 2, columns)[:, None] * turn.T).astype(np.float32)
    mean = chance.standard_normal(columns, dtype=np.float32)
    total, products, step = np.zeros(columns), np.zeros((columns, columns)), 8192
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype="float32", shape=(rows, columns))
    for start in range(0, rows, step):
        part = chance.standard_normal((min(step, rows - start), columns), dtype=np.float32) @ mixing + mean
        vectors[start : start + len(part)] = part
        exact = part.astype(np.float64) - mean
        total += exact.sum(axis=0)
        products += exact.T @ exact
    vectors.flush()
    np.save(folder / "covariance.npy", (products - np.outer(total, total) / rows) / (rows - 1))


# What one process does


def fit_nlpx(path: Path, dim: int) -> tuple[Matrix, int]:
    from nlpx.embed.fitting import Place, moments_of
    from nlpx.embed.vectors import open_vectors
    from nlpx.embed.whitening import Choices, fit
    from nlpx.messages import Silent

    choices = Choices(dim=dim)
    found = fit(moments_of([open_vectors(path)], choices, Place(), Silent()), choices)
    return found.kernel, found.num_floored


def fit_command(path: Path, dim: int) -> tuple[Matrix, int]:
    from nlpx.embed.whitening import load

    saved = path.with_name("map.safetensors")
    subprocess.run([*NLPX, "--fit", str(path), "--dim", str(dim), "--save", str(saved)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    found = load(saved)
    return found.kernel, found.num_floored


def fit_numpy(path: Path, dim: int) -> tuple[Matrix, int]:
    vectors = np.load(path)
    vectors.mean(axis=0, keepdims=True)
    turn, values, _ = np.linalg.svd(np.cov(vectors.T))
    return (turn @ np.diag(1 / np.sqrt(values)))[:, :dim], 0


def fit_sklearn(path: Path, dim: int) -> tuple[Matrix, int]:
    from sklearn.decomposition import PCA

    found = PCA(n_components=dim, whiten=True, svd_solver="covariance_eigh").fit(np.load(path))
    return found.components_.T / np.sqrt(found.explained_variance_), 0


def measured_fit(name: str, folder: Path, dim: int) -> dict[str, Any]:
    works = {"nlpx": fit_nlpx, "nlpx, command": fit_command, "numpy": fit_numpy, "scikit-learn": fit_sklearn}
    covariance = np.load(folder / "covariance.npy")
    start, cpu = time.perf_counter(), cpu_seconds()
    kernel, num_floored = works[name](folder / "vectors.npy", dim)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    peak = peak_of_children() if name == "nlpx, command" else peak_of_this_process()
    kept = kernel[:, : dim - num_floored].astype(np.float64)
    error = np.abs(kept.T @ covariance @ kept - np.eye(kept.shape[1])).max() if np.isfinite(kept).all() else np.nan
    return {"seconds": seconds, "cpu": cpu, "megabytes": peak, "error": float(error), "floored": num_floored}


def measured_apply(name: str, folder: Path, dim: int) -> dict[str, Any]:
    source, target = folder / "vectors.npy", folder / "out.npy"
    rows, columns = np.load(source, mmap_mode="r").shape
    command = [*NLPX, str(source), "--load", str(folder / "map.safetensors"), "-o", str(target)]
    start, cpu = time.perf_counter(), cpu_seconds()
    if name == "copy":
        copy(source, target, share=dim / columns)
    else:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    target.unlink()
    return {"seconds": seconds, "cpu": cpu, "megabytes": peak_of_children(), "rows": rows}


def cpu_seconds() -> float:
    """Of this process with all its threads, and of those it started and saw end."""
    times = os.times()
    return sum(times[:4])


def peak_of_this_process() -> float:
    """Megabytes. What getrusage says would begin with the size of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def peak_of_children() -> float:
    """Megabytes of the largest; this process must have stayed small until it started them."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


def copy(source: Path, target: Path, *, share: float) -> None:
    """Read all of a file; write so large a share of it and sync."""
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as written:
        while part := read.read(COPY_BYTES):
            written.write(part[: int(share * len(part))])
        os.fsync(written.fileno())


# The rounds


def measure(folder: Path, options: argparse.Namespace) -> None:
    def commands(kind: str, names: tuple[str, ...]) -> dict[str, list[str]]:
        words = [sys.executable, str(Path(__file__).resolve()), "--folder", str(folder), "--dim", str(options.dim)]
        return {name: [*words, "--worker", kind, name] for name in names}

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    found = in_processes(commands("fit", FITS), options.rounds, say=say)
    for ours in FITS[:2]:
        for peer in PEERS:
            faster = spread(ratios(*([row["seconds"] for row in found[name]] for name in (peer, ours))))
            print(f"{ours} is faster than {peer} by {faster}")
    columns = ("fit", "seconds", "CPU seconds", "peak MB", "largest error on what is kept", "floored")
    print(markdown(columns, [_row(name, rows) for name, rows in found.items()]))
    applied = in_processes(commands("apply", ("nlpx", "copy")), options.rounds, say=say)
    ours, theirs = ([row["seconds"] for row in applied[name]] for name in ("nlpx", "copy"))
    print(f"\napplying: {statistics.median(ours):.2f} s, copying {statistics.median(theirs):.2f} s: "
          f"{spread(ratios(theirs, ours))} of its speed, {applied['nlpx'][0]['megabytes']:.0f} MB")  # fmt: skip


def _row(name: str, rows: list[dict[str, Any]]) -> list[object]:
    def largest(key: str) -> float:
        return max((row[key] for row in rows), key=lambda value: (np.isnan(value), value))

    seconds, cpu = (spread([row[key] for row in rows]) for key in ("seconds", "cpu"))
    return [name, seconds, cpu, f"{largest('megabytes'):.0f}", f"{largest('error'):.1e}", rows[0]["floored"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=768)
    parser.add_argument("--dim", type=int, help="directions to keep; default: all")
    parser.add_argument("--condition", type=float, default=1e3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        works: dict[str, Callable[..., dict[str, Any]]] = {"fit": measured_fit, "apply": measured_apply}
        print(json.dumps(works[options.worker[0]](options.worker[1], options.folder, options.dim)))
        return 0
    options.dim = options.dim or options.columns
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # numpy's products heed it before anything else
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write_data(Path(name), options.rows, options.columns, options.condition)
        print(f"{options.rows:,} x {options.columns} float32, condition {options.condition:g}, {options.dim} kept, "
              f"{options.threads} threads, {options.rounds} rounds", flush=True)  # fmt: skip
        measure(Path(name), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
