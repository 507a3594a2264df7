import pytest

from benchmarks.soak import Held, faults, growth, main

pytestmark = pytest.mark.unit


def samples(rss_step_mb: float = 0.0, threads_step: int = 0, tasks_step: int = 0, files_step: int = 0) -> list[Held]:
    """What a server that grows by these steps every 20 calls would hold."""
    return [
        Held(20 * n, 300 + rss_step_mb * n, 20 + threads_step * n, 4 + tasks_step * n, 9 + files_step * n, 0)
        for n in range(1, 13)
    ]


def test_a_server_that_holds_the_same_has_no_fault() -> None:
    assert faults(samples()) == []


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ({"rss_step_mb": 0.6}, "memory grew by 5.4 MB, allowed are 5"),
        ({"threads_step": 1}, "threads grew by 9"),
        ({"tasks_step": 1}, "tasks grew by 9"),
        ({"files_step": 1}, "files grew by 9"),
    ],
)
def test_whatever_grows_is_named_with_how_much(steps: dict[str, int], fault: str) -> None:
    assert faults(samples(**steps)) == [fault]


def test_the_slope_of_the_memory_is_given_per_call() -> None:
    assert growth(samples(rss_step_mb=2.0))["rss_kb_per_cycle"] == pytest.approx(100)


def test_too_few_cycles_to_tell_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--cycles", "30"])
    assert "at least 80" in capsys.readouterr().err
