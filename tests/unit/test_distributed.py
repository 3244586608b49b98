"""Two gloo processes are one process: the same losses and weights for the same global batch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing, nn
from torch.distributed import TCPStore

from nlpx.errors import ResultError
from nlpx.train import distributed
from nlpx.train.loop import train

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import processes  # noqa: E402
import toy_run  # noqa: E402


def alone(**settings):
    objective = toy_run.twice if settings.pop("twice", False) else toy_run.objective
    training, config = toy_run.build(**settings)
    return toy_run.run(training, config, objective=objective), toy_run.weights(training)


def torchrun(out, *arguments):
    processes.torchrun(str(TESTS / "toy_run.py"), str(out), *arguments)
    return json.loads((out / "losses.json").read_text()), load_file(out / "weights.safetensors")


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.0},
        # One row in some batches: a process without rows has to keep step. And two forward passes in one objective.
        {"dropout": 0.0, "batch_tokens": 30, "accumulation": 3, "twice": True},
    ],
)
def test_two_processes_equal_one(tmp_path, settings):
    plan = toy_run.build(**{key: value for key, value in settings.items() if key != "twice"})[0].batches.plan(0)
    assert ("twice" in settings) == any(len(rows) == 1 for rows in plan)
    expected_losses, expected = alone(**dict(settings))
    losses, weights = torchrun(tmp_path, *(f"{key}={json.dumps(value)}" for key, value in settings.items()))
    assert len(losses) == 2
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(expected_losses, abs=1e-6)
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.allclose(weights[name], weight, atol=1e-6), name


def test_a_run_saved_by_two_processes_goes_on_in_one(tmp_path):
    expected_losses, _ = alone(dropout=0.0)
    torchrun(tmp_path, "dropout=0.0")
    training, config = toy_run.build(dropout=0.0)
    training.load(tmp_path / "last")
    assert training.step == 7
    assert toy_run.run(training, config) == pytest.approx(expected_losses[7:], abs=1e-5)


def spawned(rank: int, out: str, port: int) -> None:
    """What each process of the next test runs; a fresh interpreter imports this module to find it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE="True",  # the store is there already: the first process is not to open it
        **processes.environment(),
    )  # fmt: skip
    facts = {}
    with distributed.process_group():
        facts["world"] = [distributed.rank(), distributed.world_size(), distributed.local_rank()]
        facts["main"] = distributed.is_main()
        facts["total"] = distributed.total(rank + 1)
        facts["any"] = [distributed.any_rank(rank == 1), distributed.any_rank(False)]
        facts["sum"] = distributed.add_up(torch.tensor([1.0, rank])).tolist()
        facts["gathered"] = distributed.gather({"文": "x" * (1 + 5 * rank)})
        facts["from_main"] = distributed.from_main(f"rank {rank}")
        facts["error"] = failing(rank)
    facts["left"] = distributed.world_size()
    Path(out, f"{rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def failing(rank: int) -> list:
    """A loss that is no number in the second process only: both must stop, and name the rows of both."""

    def objective(model, batch):
        result = toy_run.objective(model, batch)
        return type(result)(result.loss * float("nan")) if rank == 1 else result

    training, config = toy_run.build(batch_size=6, accumulation=1)
    rows = sorted(training.batches.plan(0)[0].tolist())
    try:
        next(train(training, objective=objective, collate=toy_run.collate, config=config))
    except ResultError as error:
        named = error.message.rsplit(": ", 1)[1]
        return [sorted(map(int, named.split(", "))), rows]
    return []


def test_processes_started_by_spawn_find_each_other(tmp_path):
    # Open before the processes start, at a port of the system's choice: no other program can come between.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    multiprocessing.start_processes(spawned, (str(tmp_path), store.port), nprocs=2, start_method="spawn")
    facts = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    for rank, found in enumerate(facts):
        assert found["world"] == [rank, 2, rank]
        assert found["main"] == (rank == 0)
        assert found["total"] == 3
        assert found["any"] == [True, False]
        assert found["sum"] == [2.0, 1.0]
        assert found["gathered"] == [{"文": "x"}, {"文": "xxxxxx"}]
        assert found["from_main"] == "rank 0"
        named, rows = found["error"]
        assert named == rows
        assert found["left"] == 1


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = nn.Linear(2, 2)
    with distributed.process_group():
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        assert distributed.replicate(model) is model
        assert distributed.total(5) == 5
        assert not distributed.any_rank(False)
        assert distributed.gather("x") == ["x"]
        assert distributed.from_main(None) is None
        assert distributed.add_up(torch.tensor(2.0)) == 2
        distributed.barrier()
