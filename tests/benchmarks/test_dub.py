"""The benchmark of file mode counts what it did, and processor time beside wall time."""

from pathlib import Path

import pytest

from benchmarks import dub
from tests.stream.clip_maker import VOICE, make_clip
from tests.stream.fake_faces import FakeFinder
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit


def test_every_picture_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dub, "finder_for", lambda _: FakeFinder())
    run = dub.measure(make_clip(tmp_path / "in.mp4", pts=range(20)), VOICE, FakeGenerator())  # type: ignore[arg-type]
    assert (run["pictures"], run["re_voiced"]) == (20, 20)
    assert run["media_s"] == pytest.approx(0.8)
    assert run["times_real_time"] == pytest.approx(run["media_s"] / run["wall_s"])
    assert run["core_ms_per_picture"] * 20 == pytest.approx(1000 * run["processor_s"])
    assert set(run["stages"]) == {"decode", "faces", "render", "encode"}
