import numpy as np
import pytest

from stream.stages import Recent, StageMeter

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("count", [1, 2, 3, 49, 50, 51, 500])
def test_percentiles_are_numpys_over_the_latest_values(count: int) -> None:
    values = np.random.default_rng(count).integers(-10_000_000, 90_000_000, count)
    recent = Recent(50)
    for value in values:
        recent.add(int(value))
    np.testing.assert_allclose(
        recent.percentiles(0, 50, 95, 99, 100), np.percentile(values[-50:], [0, 50, 95, 99, 100])
    )
    assert (recent.count, recent.last) == (count, values[-1])


def test_before_the_first_value_everything_is_zero() -> None:
    assert Recent(5).percentiles(50, 99) == [0.0, 0.0]
    assert StageMeter().figures().max_ms == 0.0


def test_a_meter_counts_calls_failures_and_milliseconds() -> None:
    meter = StageMeter()
    for duration_ms in (1, 2, 3):
        meter.add(duration_ms * 1_000_000, failed=duration_ms == 2)
    figures = meter.figures()
    assert (figures.count, figures.failed, figures.p50_ms, figures.max_ms) == (3, 1, 2.0, 3.0)
