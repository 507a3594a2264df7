"""How a dub is held to its lag."""

import pytest

from stream.speech.lag import LagConfig, Placement, place
from tests.stream.speech.words import MS

pytestmark = pytest.mark.unit

CONFIG = LagConfig(target_ms=2000, max_ms=5000, end_ms=2000, going_ms=3000)


def placed(
    free_ms: int, duration_ms: int, *, start_ms: int = 10_000, end_ms: int = 11_000, goes_on: bool = False
) -> Placement | None:
    return place(
        CONFIG,
        source_start_ns=start_ms * MS,
        source_end_ns=end_ms * MS,
        duration_ns=duration_ms * MS,
        free_ns=free_ms * MS,
        delay_ns=80 * MS,
        goes_on=goes_on,
    )


def test_a_clause_that_is_ready_early_waits_for_the_target() -> None:
    assert placed(11_000, 1000) == Placement(11_920 * MS, 1.0, 2000 * MS)


def test_a_short_clause_does_not_wait_until_it_ends_too_late() -> None:
    short = placed(11_000, 600, end_ms=10_300)
    assert short is not None
    # It ends 2000 ms after its clause, 80 ms of which are the exit's.
    assert (short.start_ns, short.speed) == (11_620 * MS, 1.0)


def test_a_clause_that_is_late_is_spoken_at_once_and_faster() -> None:
    late = placed(12_520, 500)
    assert late is not None
    assert (late.start_ns, late.lag_ns) == (12_520 * MS, 2600 * MS)
    assert late.speed == pytest.approx(500 / 400)


def test_a_voice_need_not_hurry_while_the_speaker_goes_on() -> None:
    hurried, at_ease = placed(12_520, 1000), placed(12_520, 1000, goes_on=True)
    assert hurried is not None
    assert at_ease is not None
    assert (hurried.start_ns, at_ease.start_ns) == (12_520 * MS, 12_520 * MS)
    assert (hurried.speed, at_ease.speed) == (1.3, 1.0)


def test_speed_stays_within_its_limits() -> None:
    hurried, leisurely = placed(14_000, 3000), placed(11_000, 200)
    assert hurried is not None
    assert leisurely is not None
    assert (hurried.speed, leisurely.speed) == (1.3, 0.85)


def test_a_clause_beyond_the_limit_is_not_spoken() -> None:
    assert placed(14_921, 1000) is None
    assert placed(14_919, 1000) is not None


def test_a_voice_that_is_always_too_long_never_falls_behind_the_limit() -> None:
    free_ns, lags, skipped = 0, [], 0
    for start_ms in range(0, 3_600_000, 1500):
        choice = place(
            CONFIG,
            source_start_ns=start_ms * MS,
            source_end_ns=(start_ms + 1400) * MS,
            duration_ns=2600 * MS,
            free_ns=max(free_ns, (start_ms + 1900) * MS),
            delay_ns=80 * MS,
        )
        if choice is None:
            skipped += 1
            continue
        lags.append(choice.lag_ns)
        free_ns = choice.start_ns + round(2600 * MS / choice.speed)
    assert max(lags) <= 5000 * MS
    assert 0 < skipped < 900
