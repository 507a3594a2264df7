"""The filters' benchmark: what it refuses to time, and that it times what it says."""

from pathlib import Path

import pytest

from benchmarks import filtering
from models.filter_catalogue import load_filter
from stream.clock import MonotonicClock
from tests.filter_folder import make_filters
from tests.stream.fake_filter import FakeFilter, Fakes

pytestmark = pytest.mark.unit

CLIP = Path(__file__).parents[2] / "stream" / "assets" / "sample.mp4"


@pytest.fixture(scope="module")
def shown() -> filtering.Material:
    return filtering.material(CLIP, 64, 48, count=5)


def test_pictures_follow_each_other_and_are_never_those_that_a_filter_has_changed(shown: filtering.Material) -> None:
    first = shown.frame(0)
    first.planes[0][:] = 0
    assert shown.frame(0).planes[0].any()
    assert (shown.frame(5).planes[0] == shown.frame(0).planes[0]).all()
    assert shown.frame(5).pts_ns == 200_000_000


def test_only_a_filter_that_makes_the_same_of_the_same_picture_is_timed(
    shown: filtering.Material, tmp_path: Path
) -> None:
    make_filters(tmp_path, "negative")
    filtering.check(load_filter("negative", folders=[tmp_path]), shown)
    restless = FakeFilter(level=0.0)

    def brighter() -> None:
        restless.level = 0.1 * restless.runs

    restless.act = brighter
    with pytest.raises(RuntimeError, match="came out differently"):
        filtering.check(restless, shown)


def test_every_switch_is_filtered_and_no_filter_is_opened_twice(
    shown: filtering.Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtering, "_SWITCHES", 40)
    fakes = Fakes(FakeFilter("one", -1.0), FakeFilter("around", region="face"), FakeFilter("two", 1.0))
    filters = filtering.of_whole_pictures(fakes.shelf(MonotonicClock()))
    assert [each.manifest.name for each in filters] == ["one", "two"]
    switched, kept = filtering.switching(filters, shown)
    assert switched.ms.count == kept.ms.count == 40
    assert switched.extra["filtered"] == 60
    assert fakes.opened == ["one", "around", "two"]
