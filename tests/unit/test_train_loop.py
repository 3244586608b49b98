"""The loop as its consumer sees it: what it yields, when it stops, and how it fails."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from nlpx.errors import MachineError, ResultError
from nlpx.train import interrupt
from nlpx.train.collapse import CollapseDetector, label_entropy
from nlpx.train.early_stopping import EarlyStopping
from nlpx.train.interrupt import InterruptGuard
from nlpx.train.loop import train
from nlpx.train.step import evaluation_weights
from nlpx.train.watch import LossWatch, Unchecked

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run


def infos(training, config, *, objective=toy_run.objective, collate=toy_run.collate, guard=None):
    return train(training, objective=objective, collate=collate, config=config, guard=guard)


def test_training_learns():
    training, config = toy_run.build(steps=200)
    losses = toy_run.run(training, config)
    assert len(losses) == 200
    assert sum(losses[-20:]) / 20 < 0.3 < 1.0 < sum(losses[:5]) / 5


def test_what_a_step_tells():
    training, config = toy_run.build(steps=None, epochs=2, batch_size=30, accumulation=2)
    found = list(infos(training, config))
    assert [(info.step, info.epoch, info.ends_epoch, info.is_last) for info in found] == [
        (1, 0, False, False),
        (2, 0, True, False),
        (3, 1, False, False),
        (4, 1, True, True),
    ]
    lengths = [len(tokens) for tokens, _ in toy_run.ROWS]
    for pair in (found[:2], found[2:]):
        assert sum(info.num_tokens for info in pair) == sum(lengths)
        assert [info.num_targets for info in pair] == [60, 30]
    assert found[0].total_steps == 4
    # Warm-up over 4 updates to 0.02.
    assert [info.learning_rate for info in found] == pytest.approx([0.005, 0.01, 0.015, 0.02])
    assert all(info.loss > 0 and info.gradient_norm > 0 and info.seconds > 0 and info.warning is None for info in found)


def test_rates_reach_the_optimizer_with_their_scale():
    training, config = toy_run.build()
    info = next(infos(training, config))
    rates = {name: group["lr"] for group in training.optimizer.param_groups for name in group["param_names"]}
    assert rates["hidden.weight"] == info.learning_rate
    assert rates["head.weight"] == 2 * info.learning_rate


def test_when_things_are_due():
    training, config = toy_run.build(steps=7, batch_size=30, accumulation=1)
    found = list(infos(training, config))
    assert [info.step for info in found if info.due(3)] == [3, 6, 7]
    assert [info.step for info in found if info.due("epoch")] == [3, 6, 7]
    assert not any(info.due(None) for info in found)


def test_the_consumer_may_evaluate_between_steps():
    def evaluated():
        training, config = toy_run.build()
        for info in infos(training, config):
            training.model.eval()
            with evaluation_weights(training.model, training.tricks), torch.no_grad():
                toy_run.objective(training.model, toy_run.collate([0, 1]))
            yield info.loss

    training, config = toy_run.build()
    expected = toy_run.run(training, config)
    assert list(evaluated()) == expected


def test_masks_differ_from_step_to_step():
    training, config = toy_run.build(dropout=0.5)
    pool = training.model.noise_pool
    seen = [pool._round for _ in infos(training, config)]
    assert seen[0] != seen[-1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_the_step_and_its_rows(tmp_path, bad):
    def objective(model, batch):
        result = toy_run.objective(model, batch)
        if training.step == 5:
            return type(result)(result.loss * bad)
        return result

    training, config = toy_run.build(batch_size=12, accumulation=1)
    stream = infos(training, config, objective=objective)
    for _ in range(4):
        next(stream)
    training.save(tmp_path / "last")
    before = toy_run.weights(training)
    twin, _ = toy_run.build(batch_size=12, accumulation=1)
    rows = [twin.batches.take(1)[0].rows for _ in range(5)][-1]
    with pytest.raises(ResultError) as caught:
        next(stream)
    message = caught.value.message
    assert f"step 5, epoch 0: the loss became {bad}" in message
    assert f"counted from 0: {', '.join(map(str, rows[:8]))} and 4 more" in message
    assert "optim.learning_rate" in caught.value.hint
    # The weights are untouched, and what was saved cannot be replaced by a broken run.
    assert all(torch.equal(before[name], weight) for name, weight in toy_run.weights(training).items())
    with pytest.raises(ResultError):
        training.save(tmp_path / "last")
    twin.load(tmp_path / "last")
    assert twin.step == 4


def test_a_gradient_that_is_no_number_is_told_apart():
    def objective(model, batch):
        result = toy_run.objective(model, batch)
        # The root of zero is zero, and its slope is infinite.
        return type(result)(result.loss + (model.unused.weight.sum() * 0).abs().sqrt())

    training, config = toy_run.build()
    with pytest.raises(ResultError, match=r"the gradient's norm became (nan|inf) \(loss "):
        next(infos(training, config, objective=objective))


def test_put_off_checks_still_name_the_first_bad_step():
    watch = LossWatch()
    losses = [1.0, 2.0, float("nan"), float("nan")]
    for step, loss in enumerate(losses, start=1):
        watch.add(Unchecked(step, 0, [10 * step], torch.tensor(loss), torch.tensor(1.0)), check=False)
    with pytest.raises(ResultError, match=r"step 3, .* 30"):
        watch.flush()
    with pytest.raises(ResultError, match="step 3"):
        watch.flush()


def test_looked_at_steps_are_forgotten():
    watch = LossWatch()
    for step in range(1, 6):
        watch.add(Unchecked(step, 0, [], torch.tensor(1.0), torch.tensor(1.0)), check=step == 5)
    assert not watch.pending


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you ...")])
def test_running_out_of_memory_names_the_key_to_change(error):
    def objective(_model, _batch):
        raise error

    training, config = toy_run.build(batch_tokens=100, accumulation=3)
    with pytest.raises(MachineError, match=r"train\.batch_tokens=100") as caught:
        next(infos(training, config, objective=objective))
    assert "--set train.batch_tokens=50 --set train.accumulation=6" in caught.value.hint


def test_other_errors_pass_through():
    def objective(_model, _batch):
        raise RuntimeError("a bug")

    training, config = toy_run.build()
    with pytest.raises(RuntimeError, match="a bug"):
        next(infos(training, config, objective=objective))


def test_the_first_interrupt_finishes_the_step_and_ends_the_run():
    told = []
    with InterruptGuard(on_request=lambda: told.append(True)) as guard:
        training, config = toy_run.build()

        def collate(rows):
            if training.step == 4 and not guard.requested:
                os.kill(os.getpid(), signal.SIGINT)
            return toy_run.collate(rows)

        steps = [info.step for info in infos(training, config, collate=collate, guard=guard)]
    assert steps == [1, 2, 3, 4]
    assert training.interrupted
    assert told == [True]


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    unbroken, config = toy_run.build()
    losses = toy_run.run(unbroken, config)
    with InterruptGuard() as guard:
        training, config = toy_run.build()
        first = []
        for info in infos(training, config, guard=guard):
            first.append(info.loss)
            if info.step == 6:
                os.kill(os.getpid(), signal.SIGTERM)
        training.save(tmp_path / "last")
    resumed, config = toy_run.build()
    resumed.load(tmp_path / "last")
    assert first + toy_run.run(resumed, config) == losses


def test_the_second_interrupt_leaves_at_once():
    with InterruptGuard():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_echo_of_the_launcher_is_not_a_second_interrupt(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(interrupt, "ECHO_SECONDS", 3600.0)  # else a machine under load decides
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert guard.requested


def test_handlers_are_put_back_and_left_alone_in_other_threads():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with InterruptGuard():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    problems = []

    def elsewhere():
        try:
            with InterruptGuard() as guard:
                assert not guard.requested
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert not problems


def observed(losses, *, warmup_steps=10, window=20, entropy=1.0):
    detector = CollapseDetector(entropy, warmup_steps=warmup_steps, window=window)
    return [step for step, loss in enumerate(losses, start=1) if detector.observe(step, loss)]


def test_label_entropy():
    assert label_entropy([50, 50]) == pytest.approx(0.693147, abs=1e-6)
    assert label_entropy([1, 3, 0]) == pytest.approx(0.562335, abs=1e-6)
    assert label_entropy([7]) == 0


def test_collapse_is_noticed_once_and_only_after_warm_up_and_window():
    assert observed([1.0, 1.02, 0.98] * 40) == [30]


def test_a_run_that_learns_is_left_alone():
    assert observed([1.0 - 0.005 * step for step in range(120)]) == []
    assert observed([1.0] * 10 + [0.9] * 100) == []


def test_a_run_still_in_its_warm_up_is_left_alone():
    assert observed([1.0] * 200, warmup_steps=200) == []


def test_a_run_that_learned_and_fell_back_is_noticed():
    assert observed([0.5] * 60 + [1.0] * 60) == [80]


def test_the_detector_goes_on_where_it_was():
    first, second = (CollapseDetector(1.0, warmup_steps=0, window=10) for _ in range(2))
    assert not [step for step in range(1, 8) if first.observe(step, 1.0)]
    second.load_state_dict(first.state_dict())
    assert [step for step in range(8, 30) if second.observe(step, 1.0)] == [10]
    first.load_state_dict(second.state_dict())
    assert not [step for step in range(30, 60) if first.observe(step, 1.0)]


def collapse_warnings(**settings):
    training, config = toy_run.build(steps=60, **settings)
    training.watch.collapse = CollapseDetector(1.0986, warmup_steps=4, window=30)
    return [(info.step, info.warning) for info in infos(training, config) if info.warning]


def test_the_loop_passes_the_warning_on():
    stuck = toy_run.OPTIM.model_copy(update={"learning_rate": 1e-7})
    ((step, warning),) = collapse_warnings(optim=stuck)
    assert step >= 34
    assert "optim.learning_rate" in warning
    assert "weight report" in warning
    assert collapse_warnings() == []


def test_the_detector_is_set_up_from_the_configuration():
    training, _ = toy_run.build(collapse_window=50, label_entropy=0.6)
    detector = training.watch.collapse
    assert (detector.entropy, detector.warmup_steps, detector.losses.maxlen) == (0.6, 4, 50)
    assert toy_run.build(collapse_window=None, label_entropy=0.6)[0].watch.collapse is None
    assert toy_run.build()[0].watch.collapse is None


def test_early_stopping_counts_evaluations_without_a_better_score():
    stopping = EarlyStopping(patience=2)
    scores = [0.1, 0.3, 0.3, float("nan"), 0.4, 0.2, 0.1]
    assert [stopping.observe(score, step=step) for step, score in enumerate(scores)] == [
        True, True, False, False, True, False, False,
    ]  # fmt: skip
    assert stopping.exhausted
    assert (stopping.best_score, stopping.best_step) == (0.4, 4)


def test_early_stopping_survives_a_resume_and_may_be_off():
    stopping = EarlyStopping(patience=2)
    for step, score in enumerate([0.5, 0.4]):
        stopping.observe(score, step=step)
    resumed = EarlyStopping(patience=2)
    resumed.load_state_dict(stopping.state_dict())
    assert not resumed.exhausted
    assert not resumed.observe(0.45, step=2)
    assert resumed.exhausted
    endless = EarlyStopping(None)
    assert not any((endless.observe(0.0, step=step), endless.exhausted)[1] for step in range(50))


def test_a_first_score_that_is_no_number_is_not_the_best():
    stopping = EarlyStopping()
    assert not stopping.observe(float("nan"), step=1)
    assert stopping.observe(-1.0, step=2)


@pytest.mark.slow
def test_a_compiled_model_trains_the_same():
    expected = toy_run.run(*toy_run.build(dropout=0.0, steps=6))
    assert toy_run.run(*toy_run.build(dropout=0.0, steps=6, compile=True)) == pytest.approx(expected, abs=1e-4)
