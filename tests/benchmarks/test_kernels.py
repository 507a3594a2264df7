"""The kernels' benchmark measures every operation and says whether the budget is kept."""

import json
from pathlib import Path

import cv2
import pytest

from benchmarks import kernels
from benchmarks.kernels import Scene, run

pytestmark = pytest.mark.unit

TINY = Scene(height=97, width=95, face_px=40, budget_ms=1e9)
IMPOSSIBLE = Scene(height=97, width=95, face_px=40, budget_ms=0.0)


def test_every_operation_is_measured_and_the_budget_judged() -> None:
    rows, verdicts = run((TINY, IMPOSSIBLE), count=3)

    names = {row.name.split(": ", 1)[1] for row in rows}
    assert {
        "crop_face",
        "close_mouth",
        "generator_input",
        "mouth_mask",
        "paste_face",
        "frame_to_tensor",
        "tensor_to_frame",
        "mel step",
        "all before and after",
    } <= names
    assert all(row.ms.count == 3 and row.ms.p50 > 0 for row in rows)
    assert [verdict["kept"] for verdict in verdicts] == [True, False]


def test_opencvs_threads_are_given_back() -> None:
    before = cv2.getNumThreads()
    run((TINY,), count=1)

    assert cv2.getNumThreads() == before


@pytest.mark.parametrize(("scene", "code"), [(TINY, 0), (IMPOSSIBLE, 1)])
def test_the_exit_status_and_the_json_say_whether_the_budget_is_kept(
    scene: Scene, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "SCENES", (scene,))

    assert kernels.main(["--count", "2", "--results", str(tmp_path)]) == code
    (path,) = tmp_path.glob("*-kernels.json")
    assert json.loads(path.read_text())["budgets"][0]["kept"] is (code == 0)
