"""Dominance functions: lips close for p, b, m, and what they do otherwise is fitted."""

from pathlib import Path

import numpy as np
import pytest

from training.data.articulation import NAMES, Said, fit_articulation, load_articulation, prior
from training.data.phones import SILENT, Phone

pytestmark = pytest.mark.unit


def _said(*names: str, each_s: float = 0.1) -> list[Phone]:
    return [Phone(name, index * each_s, (index + 1) * each_s) for index, name in enumerate(names)]


def test_lips_close_for_a_labial_between_open_vowels_and_not_for_a_velar() -> None:
    times = np.arange(0, 0.5, 0.01)
    labial = prior().track(_said("AA", "AA", "B", "AA", "AA"), times)[:, 0]
    velar = prior().track(_said("AA", "AA", "G", "AA", "AA"), times)[:, 0]
    assert labial[25] < 0.03 < 0.08 < velar[25]
    assert labial.min() >= 0


def test_a_round_vowel_narrows_the_mouth_before_it_is_heard() -> None:
    times = np.arange(0, 0.3, 0.01)
    plain = prior().track(_said("S", "T", "IY"), times)[:, 1]
    rounded = prior().track(_said("S", "T", "UW"), times)[:, 1]
    assert rounded[12] < plain[12]
    assert rounded[28] < 0.93 < 1.0 < plain[28]


def test_the_mouth_at_rest_is_closed() -> None:
    track = prior().track([Phone(SILENT, 0, 1)], np.arange(0, 1, 0.1))
    np.testing.assert_allclose(track[:, 0], 0.005, atol=1e-6)


def test_a_fit_finds_the_mouths_that_drew_the_truth_and_each_persons_scale(tmp_path: Path) -> None:
    truth = prior()
    truth.mouths[NAMES.index("AA")] = (0.2, 1.1)
    truth.mouths[NAMES.index("S")] = (0.01, 0.9)
    rng = np.random.default_rng(0)
    material = []
    for person, scale in (("anna", 0.8), ("bert", 1.25)):
        for _ in range(4):
            phones = _said(*rng.choice(["AA", "S", "M", "IY", SILENT], 20))
            times = np.arange(0, 2, 0.04)
            mouths = truth.track(phones, times) * np.array([scale, 1], np.float32)
            material.append(Said(person, phones, times, mouths))
    fitted = fit_articulation(material)
    start = prior()
    for name in ("AA", "S"):
        index = NAMES.index(name)
        off = np.abs(fitted.mouths[index] - truth.mouths[index])
        assert (off < 0.5 * np.abs(start.mouths[index] - truth.mouths[index])).all(), name
    # A phone that was never said keeps its dominance.
    np.testing.assert_allclose(fitted.dominance[NAMES.index("OY")], start.dominance[NAMES.index("OY")], atol=1e-3)
    fitted.save(tmp_path / "articulation.json")
    again = load_articulation(tmp_path / "articulation.json")
    for a, b in zip((fitted.mouths, fitted.rates), (again.mouths, again.rates), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_mouth_that_was_not_measured_does_not_count() -> None:
    phones, times = _said("AA", "M", "AA"), np.arange(0, 0.3, 0.04)
    mouths = prior().track(phones, times)
    mouths[:, 1] = np.nan
    fitted = fit_articulation([Said("anna", phones, times, mouths)], steps=20)
    assert np.isfinite(fitted.mouths).all()
    np.testing.assert_allclose(fitted.mouths[:, 1], prior().mouths[:, 1], atol=1e-3)


def test_a_fit_moves_as_widely_as_what_it_was_fitted_on() -> None:
    rng = np.random.default_rng(0)
    phones, times = _said(*rng.choice(["AA", "S", "M", "IY"], 40)), np.arange(0, 4, 0.04)
    # What phones do not explain makes a least-squares fit shy.
    mouths = prior().track(phones, times) + rng.normal(0, (0.03, 0.02), (len(times), 2)).astype(np.float32)
    track = fit_articulation([Said("anna", phones, times, mouths)]).track(phones, times)
    np.testing.assert_allclose(track.std(0), mouths.std(0), rtol=0.15)
