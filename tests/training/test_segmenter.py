"""A segmenter of our own: CamVid laid out, IoU of known maps, a run that learns and resumes, OASIS read back by it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.pictures import made_picture, write_layouts, write_picture
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import ConfigError, read_config
from training.data.camvid import CLASSES, VOID, write_camvid_layouts
from training.data.clips import MaterialError
from training.data.layout_pairs import LayoutConfig, read_layouts
from training.evaluate_layouts import CHANCE, DRAWN, REAL, check_classes
from training.layout_scores import class_intervals, confusion, ious, pixel_accuracy
from training.oasis import OasisTraining
from training.perceptual import KD
from training.segmenter import (
    METRIC,
    PARTS,
    Segmenter,
    SegmenterTraining,
    class_weights,
    found_layout,
    segmenter_of_run,
    train_segmenter,
)

pytestmark = pytest.mark.unit

QUICK = read_config(SegmenterTraining, "quick_segmenter")


def test_camvid_is_laid_out_by_its_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        write_picture(tmp_path / "camvid" / split / "0001TP_8.jpg", made_picture(1))
        write_picture(tmp_path / "camvid" / f"{split}annot" / "0001TP_8.png", made_picture(1))
    assert main(["camvid-layouts", "--camvid", str(tmp_path / "camvid"), "--out", str(tmp_path / "out")]) == 0
    assert "1 pairs in train, 1 pairs in val, 1 pairs in test" in capsys.readouterr().out
    assert (tmp_path / "out/val/layouts/0001TP_8.png").is_file()
    assert (tmp_path / "out/test/photos/0001TP_8.jpg").is_file()
    (tmp_path / "camvid/testannot/0001TP_8.png").unlink()
    with pytest.raises(MaterialError, match="0001TP_8 is in only one of"):
        write_camvid_layouts(tmp_path / "camvid", tmp_path / "again")
    with pytest.raises(MaterialError, match="no folder"):
        write_camvid_layouts(tmp_path, tmp_path / "again")


@pytest.mark.parametrize(
    "name", ["camvid_segmenter", "camvid_oasis", "camvid_oasis_helped", "camvid_spade", "camvid_pix2pix"]
)
def test_the_configs_for_camvid_know_its_classes_and_its_void(name: str) -> None:
    layouts = read_config(SegmenterTraining if name.endswith("segmenter") else OasisTraining, name).layouts
    layouts.check()
    assert (layouts.class_names(), layouts.dont_care) == (CLASSES, VOID)


def test_iou_of_known_maps_leaves_void_out() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 2]], np.uint8)
    found = np.array([[0, 0, 1, 0], [0, 1, 1, 0]], np.uint8)
    counts = confusion(truth, found, classes=4, dont_care=2)
    assert counts.sum() == 7
    assert ious(counts)[:2] == pytest.approx([3 / 5, 2 / 4])
    assert np.isnan(ious(counts)[2:]).all()
    intervals = class_intervals(np.stack([counts, counts]), ("a", "b", "void", "d"))
    assert list(intervals) == ["a", "b", "mIoU"]
    assert intervals["mIoU"] == (0.55, 0.55, 0.55)
    assert pixel_accuracy(counts[None]).value == pytest.approx(5 / 7, abs=1e-4)


def test_ids_that_are_no_class_are_refused() -> None:
    layout = np.full((2, 2), 4, np.uint8)
    with pytest.raises(ValueError, match="ids up to 4, expected 0 to 3"):
        confusion(layout, layout, classes=4, dont_care=3)
    with pytest.raises(ValueError, match="the layout is"):
        confusion(layout, layout[:1], classes=5, dont_care=3)


def test_rare_classes_weigh_more_and_void_nothing(tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    counts = np.bincount(np.concatenate([each.ids.ravel() for each in pairs.pairs]), minlength=3)
    weights = class_weights(pairs, LayoutConfig(classes=3, dont_care=1), balance=1.0)
    assert weights[1] == 0
    assert weights[0] * counts[0] == pytest.approx(weights[2] * counts[2], rel=1e-5)
    assert (weights * counts).sum() == pytest.approx(counts[0] + counts[2], rel=1e-5)
    assert class_weights(pairs, LayoutConfig(classes=3), balance=0.0).tolist() == [1.0, 1.0, 1.0]


def test_void_is_never_found() -> None:
    torch.manual_seed(0)
    network = Segmenter(QUICK.network, 3)
    photo = made_picture(0, 64, 64)
    assert 1 not in found_layout(network, photo, dont_care=1)
    assert set(np.unique(found_layout(network, photo, dont_care=-1))) <= {0, 1, 2}


def test_a_run_learns_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    config = replace(QUICK, run=replace(QUICK.run, steps=24, look_every=8, learning_rate=1e-2))
    whole = load_checkpoint(train_segmenter(config, pairs, tmp_path / "whole", say=lambda _: None))
    train_segmenter(config, pairs, tmp_path / "parts", stop_after=13, say=lambda _: None)
    parts = load_checkpoint(train_segmenter(config, pairs, tmp_path / "parts", resume=True, say=lambda _: None))
    assert all(torch.equal(value, parts[PARTS[0]][name]) for name, value in whole[PARTS[0]].items())
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-10:]) < 0.8 * losses[0]


def test_a_segmenter_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dont_care = 2, the generator -1"):
        check_classes(LayoutConfig(classes=3, dont_care=2), LayoutConfig(classes=3))
    torch.save({"judge": {}, "config": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match="is no segmenter"):
        segmenter_of_run(tmp_path / "checkpoint.pt")


def test_the_commands_train_and_read_back_what_a_run_of_oasis_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_layouts(tmp_path / "pairs", 8)
    text = (Path("training/configs/quick_oasis.toml")).read_text().replace("[run]", "[loss]\nperceptual = 1.0\n\n[run]")
    (tmp_path / "oasis.toml").write_text(text.replace("steps = 4", "steps = 2"))
    shown = ["--pairs", str(folder)]
    assert main(["oasis", "--config", str(tmp_path / "oasis.toml"), *shown, "--run", str(tmp_path / "oasis")]) == 0
    assert "perceptual" in (tmp_path / "oasis" / "log.jsonl").read_text()
    segmenter = ["segmenter", "--config", "quick_segmenter", *shown, "--run", str(tmp_path / "segmenter")]
    assert main([*segmenter, "--test", str(folder)]) == 0
    asked = ["evaluate-filter", "--checkpoint", str(tmp_path / "oasis" / "checkpoint.pt"), "--out", str(tmp_path)]
    assert main([*asked, *shown, "--all", "--segmenter", str(tmp_path / "segmenter" / "checkpoint.pt")]) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    figures = report["figures"]
    assert all(METRIC in figures[row] and "class 0" in figures[row] for row in (DRAWN, REAL, CHANCE))
    assert KD in figures[DRAWN]
    # Read back alone or beside a generator, real photos are worth the same.
    assert json.loads((tmp_path / "segmenter" / "scores.json").read_text())["figures"] == figures[REAL]
    assert report["not_measured"] == ["mIoU of a published segmenter", "FID"]
    assert (tmp_path / "evaluation.jpg").is_file()
    assert main(asked) == 2
    assert "is measured on --pairs FOLDER" in capsys.readouterr().err
