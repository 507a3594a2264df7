"""The shared loop's pieces: a log that survives without TensorBoard, averages, the course of the learning rate."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from training.loop import LOG_FILE, RunLog, average, learning_rate_at, set_learning_rate

pytestmark = pytest.mark.unit


def _lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]


def test_tensorboard_is_told_what_the_json_lines_say(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    with RunLog(tmp_path) as log:
        log.write({"step": 20, "loss": 0.5, "rate": 1e-3})
        log.write({"step": 40, "loss": 0.25, "rate": 1e-3})
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(each.step, each.value) for each in board.Scalars("loss")] == [(20, 0.5), (40, 0.25)]
    assert [row["loss"] for row in _lines(tmp_path)] == [0.5, 0.25]


def test_without_tensorboard_there_are_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path) as log:
        log.write({"step": 1, "loss": 0.123456789})
    assert _lines(tmp_path) == [{"step": 1, "loss": 0.12346}]
    assert not (tmp_path / "tensorboard").exists()


def test_a_resumed_run_adds_to_its_log(tmp_path: Path) -> None:
    for step in (1, 2):
        with RunLog(tmp_path) as log:
            log.write({"step": step})
    assert _lines(tmp_path) == [{"step": 1}, {"step": 2}]


def test_averaged_weights_start_near_the_current_ones_and_then_follow_slowly() -> None:
    averaged, current = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    current.weight.data.fill_(3.0)
    current.num_batches_tracked.fill_(7)
    average(averaged, current, 0, 0.9)
    assert averaged.weight.item() == pytest.approx(1 + 0.9 * 2)
    assert averaged.num_batches_tracked.item() == 7
    averaged.weight.data.fill_(1.0)
    average(averaged, current, 10_000, 0.9)
    assert averaged.weight.item() == pytest.approx(1 + 0.1 * 2)


def test_the_rate_that_is_set_is_the_rate_of_the_next_step() -> None:
    weight = nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], 1.0)
    set_learning_rate(adam, 0.25)
    weight.grad = torch.ones(1)
    adam.step()
    assert weight.item() == pytest.approx(-0.25)


class _Course:
    steps, learning_rate, final_learning_rate, warm_up_steps, decay_from_step = 100, 1.0, 0.1, 10, 50


def test_the_rate_warms_up_stays_and_falls() -> None:
    rates = [learning_rate_at(step, _Course()) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[100] == pytest.approx(0.1)
    assert rates[75] == pytest.approx(0.55)
