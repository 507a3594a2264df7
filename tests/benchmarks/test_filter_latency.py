"""The benchmark of filters measures what its budgets name, and counts only what two threads keep."""

import numpy as np
import pytest

from benchmarks.filters import BUDGET_MS, LAYOUT_CLASSES, bundled_frames, cases, layouts_of, verdicts
from benchmarks.harness import Measurement, percentiles

pytestmark = pytest.mark.unit


def test_every_budget_has_its_case() -> None:
    measured = {(case.name, case.size_px) for case in cases()}
    assert {(name, size_px) for name, size_px, _ in BUDGET_MS} <= measured


def test_pictures_are_those_of_the_bundled_clip_and_layouts_are_one_hot() -> None:
    frames = bundled_frames((64, 96))
    assert frames.shape == (32, 3, 64, 96)
    assert np.abs(frames).max() <= 1
    assert not np.array_equal(frames[0], frames[-1])
    layouts = layouts_of(frames)
    assert layouts.shape == (32, LAYOUT_CLASSES, 64, 96)
    assert np.array_equal(layouts.sum(1), np.ones((32, 64, 96)))


def test_a_budget_is_kept_by_the_median_on_two_threads() -> None:
    def row(ms: float, threads: int) -> Measurement:
        extra = {"size_px": 256, "precision": "int8", "threads": threads}
        return Measurement("tiny-b 256 none int8", percentiles([ms, ms, 100.0]), extra)

    assert [each["kept"] for each in verdicts([row(2.9, 2), row(3.1, 2), row(3.1, 1)])] == [True, False]
