"""The engine benchmark measures what it says, and never an engine that draws something else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engines
from benchmarks.engines import Case, Network, budgets, bundled_feeds, measure_inference, pictures
from models.catalogue import serving_crop
from tests.models.conftest import exported  # noqa: F401 - a fixture

pytestmark = pytest.mark.unit


@pytest.fixture
def tiny(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Network:  # noqa: F811
    monkeypatch.setattr(engines, "LIMIT_DB", {"fp32": 40.0, "bf16": 30.0, "int8": 20.0})
    # Two threads of torch on cores that are busy wait for each other for seconds.
    monkeypatch.setattr(engines, "THREADS", (1,))
    return Network("lipgan", exported)


def test_every_engine_is_a_row_with_its_ratio_to_torch(tiny: Network) -> None:
    rows = {row.name: row for row in measure_inference(tiny, count=3)}
    assert {"torch fp32 T1", "torch bf16 T1", "openvino fp32 T1", "openvino int8 T1"} <= rows.keys()
    assert rows["torch fp32 T1"].extra["torch_ratio"] == 1.0
    assert all(row.ms.count == 3 for row in rows.values())
    (verdict,) = budgets(list(rows.values()), tiny)
    assert (verdict["engine"], verdict["budget_ms"]) == ("openvino int8 T1", 10.0)
    assert verdict["kept"] == (rows["openvino int8 T1"].ms.p50 <= 10.0)


def test_an_engine_that_draws_something_else_is_not_timed(tiny: Network) -> None:
    case = Case("openvino", "fp32", 1)
    engine, feeds = case.load(tiny), bundled_feeds(tiny.manifest())[:2]
    upside_down = pictures(engine, feeds)[:, :, ::-1]
    with pytest.raises(SystemExit, match="it is not timed"):
        engines.check(case, engine, feeds, upside_down)


@pytest.mark.parametrize(("crop_px", "columns", "masked"), [(96, 27, True), (192, 16, False)])
def test_the_bundled_clip_gives_faces_and_sound(tiny: Network, crop_px: int, columns: int, masked: bool) -> None:
    manifest = tiny.manifest()
    heard = replace(manifest.mel, columns=columns, look_ahead=11)
    feeds = bundled_feeds(replace(manifest, mel=heard, crop=serving_crop(crop_px, masked=masked)))
    assert len(feeds) >= 10
    shapes = {"face": (1, 6, crop_px, crop_px), "mel": (1, 1, 80, columns)}
    assert all({name: array.shape for name, array in feed.items()} == shapes for feed in feeds)
    assert max(feed["mel"].max() for feed in feeds) > 0, "a voice is louder than silence"
    lower = np.concatenate([feed["face"][:, 3:, crop_px // 2 :] for feed in feeds])
    assert lower.any() != masked
    whole = np.concatenate([feed["face"][:, :3, crop_px // 2 :] for feed in feeds])
    # Mouths that are open in the clip are shut in what is shown.
    assert masked or (np.abs(lower - whole).mean((1, 2, 3)) > 1e-3).sum() >= 3
