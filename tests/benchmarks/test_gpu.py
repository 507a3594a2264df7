"""What measures a card runs to its end on a stand-in, finds what is wrong, and says what it could not measure."""

import argparse
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import card_tick, gpu
from benchmarks.batcher import Case, CountingPainter
from benchmarks.codecs import Report
from benchmarks.engines import Network
from benchmarks.on_card import checks, filters, live, networks, timings
from benchmarks.on_card.report import table_of
from benchmarks.on_card.scene import Scene, Sizes
from kernels.cuda import pycuda_device
from kernels.cuda.device import DeviceError
from models.card_engine import CardEngine
from models.catalogue import WEIGHTS
from models.engine import EngineError
from models.torch_cuda_engine import generator_on_card
from stream.media.codec_device import Codecs
from tests.kernels.cuda.fake_card import FakeCard
from tests.models.on_fake_card import NetworkOnFakeCard
from tests.stream.card_stand_in import Card

pytestmark = pytest.mark.unit

SMALL = Sizes(1, 120, 160, 70, 48)


def opened(monkeypatch: pytest.MonkeyPatch, name: str = "lipgan_quarter") -> CardEngine:
    card = FakeCard()
    network = generator_on_card(WEIGHTS / name / "generator.safetensors", precision="fp32", device="cpu")
    return CardEngine(NetworkOnFakeCard(card, network), card.open(monkeypatch))


def test_every_kernel_is_held_against_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    said: list[str] = []
    rows = checks.run(card.open(monkeypatch), said.append)
    assert [row for row in rows if not row["passed"]] == []
    assert {row["kernel"] for row in rows} == {
        "crop_face",
        "close_mouth",
        "draw_masks",
        "paste_face",
        "frame_to_tensor",
        "tensor_to_frame",
        "mel",
    }
    assert len(said) == len(rows)
    assert card.used == 0


def test_a_kernel_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    monkeypatch.setattr(device, "launch", lambda *_: None)
    found = list(checks.check_faces(device, SMALL))
    assert [check.passed for check in found] == [False] * 4


def test_a_kernel_that_writes_beside_its_results_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    scene = Scene(device, SMALL)
    scene.rooms.holding(b"inside")
    assert scene.rooms.trespassed() == 0
    import numpy as np

    device.to_device(scene.masks - 3, np.zeros(3, np.uint8))
    assert scene.rooms.trespassed() == 3


def test_times_come_with_bytes_and_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    rows = timings.run(device, copy_gb_s=1000.0, sizes=SMALL, faces=(1, 3), repeats=2)
    timed = [row for row in rows if "ms" in row]
    assert {row["faces"] for row in timed} == {1, 3}
    for row in timed:
        assert row["floor_ms"] == pytest.approx(row["bytes"] / 1e9)
        assert row["share_of_copy"] == pytest.approx(row["floor_ms"] / row["ms"]["p50"])
    (by_torch, _) = (row for row in rows if row["kernel"] == "crop_face by torch")
    assert "sees no card" in by_torch["not_measured"]


def test_a_scene_that_does_not_fit_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard(room=100_000).open(monkeypatch)
    (row,) = timings.run(device, None, sizes=SMALL, faces=(64,), repeats=1)
    assert "no room left" in row["not_measured"]


def test_networks_are_held_against_torch_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_engine(name: str, backend: str, precision: str) -> CardEngine:
        if backend == "tensorrt":
            raise EngineError("TensorRT is not installed")
        if precision == "fp16":
            raise EngineError("not here")
        return opened(monkeypatch, name)

    rows = networks.run(["lipgan_quarter"], peak_tflop_s=100.0, batches=(1, 4, 8), repeats=2, open_engine=open_engine)
    missing = [row for row in rows if "not_measured" in row]
    assert [row["not_measured"] for row in missing] == [
        *["TensorRT is not installed"] * 3,
        "not here",
        "the engine runs [1, 2, 4]",
    ]
    for row in rows:
        if "ms" in row:
            assert row["psnr_db"] > 80
            assert row["finite_at_extremes"]
            assert row["faces_s"] == pytest.approx(1e3 * row["batch"] / row["ms"]["p50"])
            assert 0 < row["share_of_fp16_peak"] < 1


def test_ticks_are_timed_apart_from_the_wait_for_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(monkeypatch)
    rows = live.ticks(engine, Network("lipgan_quarter").manifest(), faces=(1, 2, 9), repeats=2, height=120, width=160)
    assert [row["faces"] for row in rows] == [1, 2, 9]
    assert all(0 < row["python_us"]["p50"] * row["faces"] < row["ms"]["p50"] * 1e3 for row in rows[:2])
    assert "at most 4" in rows[2]["not_measured"]


def test_what_the_processor_does_for_a_face_is_measured_without_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card_tick.main(["--faces", "1", "3", "--repeats", "2", "--results", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    rows = json.loads(path.read_text())["ticks"]
    assert [(row["faces"], row["stays_on_card"]) for row in rows] == [(1, False), (3, False), (1, True), (3, True)]
    for row in rows:
        # The box, and the lower half of the crop in it; three bytes for two pixels.
        least, most = (0, 0) if row["stays_on_card"] else (1.5 * 297**2, 2 * 1.5 * 350**2)
        assert least <= row["copied_bytes"] <= most
        assert row["python_us"]["p50"] == pytest.approx(row["rest_us"]["p50"] + row["copies_us"]["p50"])
    assert "floor of copies" in capsys.readouterr().out


def test_faces_drawn_on_the_card_are_held_against_those_in_memory_before_ticks_are_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, manifest = opened(monkeypatch), Network("lipgan_quarter").manifest()
    monkeypatch.setattr(live, "_WARM_UP", 1)
    (row,) = live.ticks(engine, manifest, faces=(1,), repeats=1, height=120, width=160, stay=True)
    assert (row["stays_on_card"], row["copied_bytes"]) == (True, 0)
    monkeypatch.setattr(live.CardPicture, "changed", lambda *_: None)
    with pytest.raises(RuntimeError, match="differs by"):
        live.ticks(engine, manifest, faces=(1,), repeats=1, height=120, width=160, stay=True)


def test_codecs_are_measured_in_the_context_of_the_card_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    measured: list[Codecs] = []

    def run(codecs: Codecs, *, count: int) -> Report:
        measured.append(codecs)
        return Report(not_measured=[{"name": "all of it", "reason": f"{count} pictures"}])

    monkeypatch.setattr(gpu, "choose", lambda _: Card().codecs())
    monkeypatch.setattr(gpu.codecs, "run", run)
    found = gpu.measure("codecs", device, {}, argparse.Namespace(repeats=7))
    (codecs,) = measured
    assert codecs.shared is not None
    assert codecs.shared.device() is device
    assert (found["rows"], found["codecs"]) == ([], str(codecs))
    assert "not measured: all of it: 7 pictures" in table_of({"codecs": found})


def test_sessions_are_added_until_pictures_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = {16: 0.0, 32: 0.004, 64: 0.006}

    async def offer(case: Case, painter: CountingPainter, *_: object) -> dict:
        assert painter.max_batch == 4
        return {"sessions": case.sessions, "missed_share": missed[case.sessions]}

    monkeypatch.setattr(live, "offer", offer)
    rows = live.sessions(opened(monkeypatch), Network("lipgan_quarter").manifest(), counts=(16, 32, 64, 100))
    assert [row["sessions"] for row in rows] == [16, 32, 64]


def test_without_a_card_it_says_so_and_measures_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise DeviceError("there is no NVIDIA driver on this machine")

    monkeypatch.setattr(gpu, "open_device", refuse)
    assert gpu.main(["--results", str(tmp_path)]) == 2
    assert "nothing was measured: there is no NVIDIA driver" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_parts_are_added_to_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(part: str, _device: object, before: dict, _asked: argparse.Namespace) -> object:
        return {"copy_gb_s": 3000.0} if part == "ground" else [{"kernel": "x", "seen": before["ground"]["copy_gb_s"]}]

    monkeypatch.setattr(gpu, "open_device", lambda: FakeCard().open(monkeypatch))
    monkeypatch.setattr(gpu, "measure", measure)
    for part in ("ground", "kernels"):
        assert gpu.main(["--parts", part, "--results", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*-fake-card-*.json")
    body = json.loads(path.read_text())
    assert body["kernels"][0]["seen"] == 3000.0
    assert "not measured" in capsys.readouterr().out


def test_a_filter_is_timed_alone_and_with_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    network = NetworkOnFakeCard(card, filters.unet_on_card("cpu", "fp32", channels=4))
    rows = filters.run(card.open(monkeypatch), network, frames=(1,), repeats=1)
    assert [(row["what"], row["frames"]) for row in rows] == [("the network alone", 1), ("frame to frame", 1)]
    assert rows[1]["ms"]["p50"] > rows[0]["ms"]["p50"]


def test_what_cannot_be_built_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda_device, "_LIBRARY", "libnone.so")
    built = gpu.build()
    assert {name: each["exit_status"] for name, each in built.items()} == {"fp16 int8": 2, "fp8": 2}
    assert all("needs an NVIDIA card" in each["said"][0] for each in built.values())


def test_the_sanitizer_is_asked_for_by_name_or_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.shutil, "which", lambda _: None)
    assert "compute-sanitizer is not installed" in gpu.sanitize()["not_measured"]
    lines: list[list[str]] = []

    def run(line: list[str]) -> subprocess.CompletedProcess[str]:
        lines.append(line)
        return subprocess.CompletedProcess(line, 9, "a\nb\nc\n1 error", "")

    monkeypatch.setattr(gpu.shutil, "which", lambda name: name)
    found = gpu.sanitize(run)
    assert set(found) == {"memcheck", "racecheck", "initcheck"}
    assert found["memcheck"] == {"exit_status": 9, "said": ["b", "c", "1 error"]}
    assert lines[0][-4:] == ["gpu", "--parts", "checks", "--dry"]


def test_the_table_says_met_missed_or_not_measured() -> None:
    body = {
        "kernels": [
            {"kernel": "paste_face", "faces": 1, "ms": {"p50": 0.2}},
            {"kernel": "all of them", "faces": 64, "ms": {"p50": 0.4}},
        ],
        "networks": [{"network": "lipgan", "backend": "tensorrt", "not_measured": "TensorRT is not installed"}],
    }
    lines = {line.split("  ")[0]: line for line in table_of(body).splitlines()}
    assert "MISSED" in lines["paste_face, 1 face"]
    assert lines["all kernels, 64 faces"].endswith("met")
    assert "not measured" in lines["lipgan faces a second, best batch"]
    assert "not measured: lipgan tensorrt: TensorRT is not installed" in table_of(body)
