"""A filter is measured beside its input and OpenCV's best; flicker is what motion does not explain."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.made import write_clip
from tests.training.pictures import made_picture, write_photos, write_picture
from training.__main__ import main
from training.checkpoint import save_checkpoint
from training.classical import classical_filters
from training.config import CONFIG_FOLDER
from training.data.pair_batches import PairDataConfig
from training.data.pair_makers import PAIR_MAKERS, Pair, Rgb
from training.data.photo_pairs import PairSet
from training.evaluate_filter import DRAWN, INPUT, evaluate_filter
from training.filter_glance import draw_picture, write_sheet
from training.filter_network import FilterNetworkConfig
from training.filter_subject import FilterSubject, Units, run_subject
from training.flicker import affine_flow, film_flow, warp_errors
from training.picture_figures import luma_ssim, psnr_db
from training.pix2pix import FilterRunConfig, Pix2PixConfig, new_filter_trainer

pytestmark = pytest.mark.unit

SIDE = 64
CONFIG = PairDataConfig(maker="enhance", load_px=SIDE, square=False, crop_px=32)
STILL = np.eye(2, 3, dtype=np.float32)


def _held(count: int = 3) -> PairSet:
    photos = [made_picture(i, SIDE, SIDE) for i in range(count)]
    return PairSet(tuple(f"p{i}" for i in range(count)), tuple(Pair(each, each) for each in photos))


def _measured(draw: FilterSubject, tmp_path: Path) -> dict[str, object]:
    return evaluate_filter(draw, _held(), PAIR_MAKERS["enhance"], CONFIG, tmp_path, lambda _: None)


def _nothing(frames: Units) -> Units:
    return frames


def test_a_filter_that_does_nothing_is_as_good_as_its_input(tmp_path: Path) -> None:
    report = _measured(FilterSubject("nothing", _nothing, {}), tmp_path)
    figures = report["figures"]
    assert isinstance(figures, dict)
    assert figures[DRAWN] == figures[INPUT]
    assert report["gain_over_input"] == {"psnr_db": (0.0, 0.0, 0.0), "ssim": (0.0, 0.0, 0.0)}
    flicker = report["flicker"]
    assert isinstance(flicker, dict)
    assert flicker["moving_stills"]["share_of_inputs"] == 1.0
    frozen = report["frozen_input"]
    assert isinstance(frozen, dict)
    assert frozen["exactly_frozen_from_frame"] == 0


def test_a_sheet_takes_pictures_of_every_size(tmp_path: Path) -> None:
    sizes = (20, 30), (40, 10), (16, 16)
    write_sheet(tmp_path / "sheet.png", [[np.full((*size, 3), 10 * i, np.uint8)] * 2 for i, size in enumerate(sizes)])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (80, 120, 3)
    assert (sheet[:40, 60:80] == 10).all()
    assert (sheet[20:40, :60] == 255).all()


def test_a_filter_that_never_rests_is_found_out(tmp_path: Path) -> None:
    def restless(frames: Units) -> Units:
        noise = np.random.default_rng(1).normal(0, 0.1, frames.shape)
        return np.asarray(np.clip(frames + noise, -1, 1), np.float32)

    report = _measured(FilterSubject("restless", restless, {}), tmp_path)
    frozen, flicker = report["frozen_input"], report["flicker"]
    assert isinstance(frozen, dict)
    assert isinstance(flicker, dict)
    assert frozen["exactly_frozen_from_frame"] == frozen["frames"] - 1
    assert min(frozen["largest_changes"]) > 0
    assert flicker["moving_stills"]["share_of_inputs"] > 1.2


def test_the_report_is_json_and_says_what_was_not_measured(tmp_path: Path) -> None:
    _measured(FilterSubject("nothing", _nothing, {"step": 3}), tmp_path)
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["step"] == 3
    assert report["best_classical"] in report["figures"]
    assert "FID" in report["not_measured"]
    assert (tmp_path / "evaluation.jpg").is_file()


@pytest.mark.parametrize("maker", ["enhance", "relight", "sketch", "paint"])
def test_every_classical_filter_draws_a_picture_of_the_same_size(maker: str) -> None:
    picture = made_picture(2)
    filters = classical_filters(maker)
    assert len(filters) >= 2
    for name, draw in filters.items():
        drawn = draw(picture.copy())
        assert drawn.shape == picture.shape, name
        assert drawn.dtype == np.uint8, name


def test_nothing_classical_colours() -> None:
    assert not classical_filters("colour")


def test_psnr_and_ssim_of_equal_and_of_known_pictures() -> None:
    picture = made_picture(1)
    assert psnr_db(picture, picture) == 100.0
    assert luma_ssim(picture, picture) == pytest.approx(1.0)
    grey = np.full((16, 16, 3), 100, np.uint8)
    assert psnr_db(grey, grey + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))


def _moved(picture: Rgb, columns: int) -> Rgb:
    return np.ascontiguousarray(np.roll(picture, columns, axis=1))


def test_known_motion_is_no_warp_error_and_its_absence_is() -> None:
    picture = made_picture(3, SIDE, SIDE)
    right = np.array([[1, 0, -2], [0, 1, 0]], np.float32)
    film = [picture, _moved(picture, 2)]
    assert warp_errors(film, [affine_flow(right, SIDE, SIDE)]) == [0.0]
    assert warp_errors(film, [affine_flow(STILL, SIDE, SIDE)])[0] > 1.0


def test_flow_finds_the_motion_of_a_film() -> None:
    big = made_picture(4, 128, 128)
    film = [big, _moved(big, 3)]
    found = warp_errors(film, [film_flow(*film)])[0]
    assert found < 0.5 * warp_errors(film, [affine_flow(STILL, 128, 128)])[0]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_norm_that_learnt_one_by_one_is_measured_by_each_pictures_own_statistics(
    batch: int, tmp_path: Path
) -> None:
    network = FilterNetworkConfig(downs=5, channels=4, receptive_px=16, judge_channels=4)
    trainer = new_filter_trainer(Pix2PixConfig(network, PairDataConfig(crop_px=64), run=FilterRunConfig(batch=batch)))
    save_checkpoint(tmp_path / "checkpoint.pt", trainer.state())
    subject, _ = run_subject(tmp_path / "checkpoint.pt")
    assert ("statistics" in subject.notes) == (batch == 1)
    shown = [made_picture(i, SIDE, SIDE) for i in range(2)]
    drawn = subject.pictures(shown)
    assert np.array_equal(drawn[1], subject.pictures(shown[1:])[0])
    stored = draw_picture(trainer.averaged, shown[1])
    assert np.array_equal(drawn[1], stored) == (batch == 2)


def test_the_command_measures_the_held_back_of_a_run_and_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_photos(tmp_path / "photos", 8)
    run, out = tmp_path / "run", tmp_path / "out"
    shown = ["--photos", str(photos)]
    assert main(["pix2pix", "--config", "quick_pix2pix", "--maker", "enhance", *shown, "--run", str(run)]) == 0
    clip = write_clip(tmp_path / "talk.mkv", frames=4)
    asked = ["evaluate-filter", "--checkpoint", str(run / "checkpoint.pt"), *shown, "--clips", str(clip)]
    assert main([*asked, "--out", str(out)]) == 0
    report = json.loads((out / "evaluation.json").read_text())
    assert report["pictures"] == 2
    assert set(report["flicker"]) == {"moving_stills", "moving_parts", "talk"}
    assert main(["evaluate-filter", *shown, "--out", str(out)]) == 2
    assert "pass either --checkpoint" in capsys.readouterr().err


def test_the_command_measures_all_of_a_folder_of_pairs_at_the_side_of_the_crops(tmp_path: Path) -> None:
    for i in range(8):
        for side in "AB":
            write_picture(tmp_path / "pairs" / side / f"{i}.png", made_picture(i, 50, 40))
    text = (CONFIG_FOLDER / "quick_pix2pix.toml").read_text().replace("square = false", "square = true")
    (tmp_path / "quick.toml").write_text(text)
    shown = ["--pairs", str(tmp_path / "pairs")]
    run = ["--run", str(tmp_path / "run")]
    assert main(["pix2pix", "--config", str(tmp_path / "quick.toml"), *shown, *run]) == 0
    asked = ["evaluate-filter", "--checkpoint", str(tmp_path / "run" / "checkpoint.pt"), *shown]
    assert main([*asked, "--all", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["pictures"], report["maker"], report["best_classical"]) == (8, "pairs from a folder", None)
    assert report["picture_px"] == [32, 32]
