"""The OASIS recipe: published defaults, layouts read strictly, a run that learns and resumes to the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.portrait_layout import PORTRAIT_CLASSES
from models.filter_catalogue import load_filter
from models.filter_manifest import pinned_noise
from tests.training.pictures import write_layouts
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import ConfigError, read_config
from training.data.clips import MaterialError
from training.data.layout_pairs import LayoutConfig, LayoutSampler, appearance_of, one_hot, read_layouts
from training.export_oasis import export_oasis
from training.oasis import (
    PARTS,
    OasisLossConfig,
    OasisServedConfig,
    OasisTraining,
    in_colours,
    noise_of,
    oasis_of_run,
    train_oasis,
)

pytestmark = pytest.mark.unit

QUICK = read_config(OasisTraining, "quick_oasis")


def _ids(path: Path, ids: NDArray[np.uint8]) -> None:
    assert cv2.imwrite(str(path), ids)


def test_defaults_are_the_published_numbers() -> None:
    config = read_config(OasisTraining, "oasis")
    run, layouts = config.run, config.layouts
    assert (run.generator_rate, run.judge_rate, run.beta1, run.beta2) == (1e-4, 4e-4, 0.0, 0.999)
    assert (run.label_mix, run.ema_decay, run.batch, run.epochs) == (10.0, 0.9999, 32, 200)
    assert (layouts.load_px, layouts.crop_px, config.network.channels, config.network.noise) == (286, 256, 64, 64)


def test_layouts_that_do_not_fit_are_named_and_left_out(tmp_path: Path) -> None:
    folder = write_layouts(tmp_path / "pairs", 6)
    layouts = folder / "layouts"
    _ids(layouts / "s1.png", np.full((64, 64), 7, np.uint8))
    _ids(layouts / "s2.png", np.zeros((64, 60), np.uint8))
    _ids(layouts / "s3.png", np.zeros((64, 64, 3), np.uint8))
    (layouts / "s4.png").write_bytes(b"nothing")
    _ids(layouts / "s9.png", np.zeros((64, 64), np.uint8))
    pairs = read_layouts(folder, 3)
    assert pairs.names == ("s0", "s5")
    assert {each.name: each.reason for each in pairs.left_out} == {
        "layouts/s1.png": "has the id 7, expected 0 to 2",
        "s2": "is 60 x 64 px in layouts/ and 64 x 64 px in photos/",
        "layouts/s3.png": "has colours, or more than 8 bits: expected one channel of class ids",
        "layouts/s4.png": "is no picture that can be decoded",
        "s9": "has no picture in photos/",
    }


def test_a_folder_without_layouts_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"no folder .*layouts; .* should hold layouts/ and photos/"):
        read_layouts(tmp_path, 3)


def test_layouts_and_photos_are_cropped_and_mirrored_alike_and_ids_are_never_mixed(tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 6, size=(80, 96)), 3)
    sampler = LayoutSampler(pairs, LayoutConfig(classes=3, load_px=80, crop_px=64), seed=3)
    batch = sampler.batch(2, 4)
    assert set(np.unique(batch.layout)) <= {0.0, 1.0}
    assert np.all(batch.layout.sum(1) == 1)
    red = (batch.photo[:, 0] + 1) * 127.5
    same = np.argmax(batch.layout, 1) == np.minimum(red // 86, 2)
    # Photos are resized smoothly, ids are not: edges differ.
    assert same.mean() > 0.9
    assert np.array_equal(batch.photo, LayoutSampler(pairs, sampler._config, seed=3).batch(2, 4).photo)


@pytest.mark.parametrize("style", [False, True])
def test_a_run_goes_on_bit_for_bit(style: bool, tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 6), 3)
    config = replace(QUICK, network=replace(QUICK.network, style=style), layouts=replace(QUICK.layouts, dont_care=2))
    whole = load_checkpoint(train_oasis(config, pairs, tmp_path / "whole", say=lambda _: None))
    train_oasis(config, pairs, tmp_path / "parts", stop_after=2, say=lambda _: None)
    parts = load_checkpoint(train_oasis(config, pairs, tmp_path / "parts", resume=True, say=lambda _: None))
    for part in PARTS[:3]:
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items()), part
    assert torch.equal(whole["torch_rng"], parts["torch_rng"])


@pytest.mark.slow
def test_the_judge_learns_to_tell_classes(tmp_path: Path) -> None:
    pairs = read_layouts(write_layouts(tmp_path / "pairs", 4), 3)
    config = replace(QUICK, run=replace(QUICK.run, steps=25, look_every=1000, judge_rate=5e-3, generator_rate=0.0))
    train_oasis(config, pairs, tmp_path / "run", say=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["real"] == pytest.approx(np.log(4), rel=0.1)  # three classes and "drawn", all alike at first
    assert rows[-1]["real"] + rows[-1]["drawn"] < 0.9 * (rows[0]["real"] + rows[0]["drawn"])


@pytest.mark.slow
def test_the_command_trains_and_shows_held_back_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_layouts(tmp_path / "pairs", 6)
    _ids(folder / "layouts" / "s5.png", np.full((64, 64), 3, np.uint8))
    command = ["oasis", "--config", "quick_oasis", "--pairs", str(folder), "--run", str(tmp_path / "run")]
    assert main([*command, "--export", "try", "--filters", str(tmp_path / "filters")]) == 0
    shipped = load_filter("try", folders=(tmp_path / "filters",))
    assert (shipped.manifest.source, shipped.manifest.classes) == ("layout", ("class 0", "class 1", "class 2"))
    assert shipped.start()["z"].shape == (1, 4)
    shipped.close()
    said = capsys.readouterr().out
    assert "left out: layouts/s5.png has the id 3, expected 0 to 2" in said
    assert "4 pairs to learn from, 1 held back, 1 left out" in said
    assert (tmp_path / "run" / "look_000002.jpg").is_file()
    generator, config, step = oasis_of_run(tmp_path / "run" / "checkpoint.pt")
    assert (step, config.layouts.classes) == (4, 3)
    layout = torch.from_numpy(one_hot(np.zeros((64, 64), np.uint8), 3))[None]
    z = torch.zeros(1, 4)
    # Pinned noise: the same layout is the same picture.
    assert torch.equal(generator(layout, z), generator(layout, z))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": "sky, road"}, "names are 2, classes = 12"),
        ({"classes": 1}, "classes = 1, expected 2 to 256"),
        ({"dont_care": 12}, "dont_care = 12 is no class"),
        ({"crop_px": 96}, "expected a multiple of 64"),
        ({"load_px": 200}, "load_px = 200"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LayoutConfig(), **change).check()


def test_neighbouring_ids_look_different() -> None:
    shown = in_colours(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 12


# -- ours: appearances, and distances to the photo ---------------------------------------------------

APPEARING = replace(
    QUICK,
    layouts=replace(QUICK.layouts, appearances=2),
    loss=OasisLossConfig(judge_from=2, heard_from=3, judge_px=64, pixels=1.0, edges=1.0, features=1.0),
    served=OasisServedConfig(title="Two", appearance=1),
)


def _appearing(path: Path) -> Path:
    """As `_folder`, names ending in an appearance."""
    write_layouts(path, 6)
    for side in ("layouts", "photos"):
        for i, file in enumerate(sorted((path / side).iterdir())):
            file.rename(file.with_name(f"s{i}_{i % 2}.png"))
    return path


def test_an_appearance_is_drawn_with_the_noise_that_its_filter_will_have(tmp_path: Path) -> None:
    pairs = read_layouts(_appearing(tmp_path / "pairs"), 3)
    noises = noise_of(APPEARING)
    assert noises is not None
    assert np.array_equal(noises[1:], pinned_noise(APPEARING.run.seed + 1, APPEARING.network.noise))
    sampler = LayoutSampler(pairs, replace(APPEARING.layouts, flip=False), 3)
    batch = sampler.batch(0, 6)
    for appearance, photo in zip(batch.appearance, batch.photo, strict=True):
        of = [
            pair.photo for name, pair in zip(pairs.names, pairs.pairs, strict=True) if name.endswith(f"_{appearance}")
        ]
        assert any(np.allclose(photo, each.transpose(2, 0, 1) / 127.5 - 1, atol=1e-5) for each in of)


def test_the_judge_comes_when_it_is_told_to_and_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    pairs = read_layouts(_appearing(tmp_path / "pairs"), 3)
    whole = train_oasis(APPEARING, pairs, tmp_path / "whole", say=str)
    train_oasis(APPEARING, pairs, tmp_path / "halves", stop_after=2, say=str)
    halves = train_oasis(APPEARING, pairs, tmp_path / "halves", resume=True, say=str)
    first, second = (load_checkpoint(path) for path in (whole, halves))
    for name, weight in first["generator"].items():
        assert torch.equal(weight, second["generator"][name]), name
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    parts = [set(row) & {"pixels", "generator", "drawn"} for row in rows]
    assert parts == [{"pixels"}, {"pixels"}, {"pixels", "drawn"}, {"pixels", "generator", "drawn"}]


@pytest.mark.parametrize("name", ["s1", "s1_2", "s1_x"])
def test_a_photo_that_does_not_say_who_it_shows_is_refused(name: str) -> None:
    with pytest.raises(MaterialError, match="should end in an underscore and a number below"):
        appearance_of(name, 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(APPEARING, served=OasisServedConfig(appearance=2)), "appearance = 2"),
        (replace(APPEARING, loss=OasisLossConfig(judge_px=100)), "judge_px = 100"),
        (replace(APPEARING, loss=OasisLossConfig(judge_px=128)), "judge_px = 128"),
    ],
)
def test_what_of_ours_does_not_fit_is_refused(wrong: OasisTraining, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wrong.check()


def test_a_filter_of_portraits_hides_who_is_there_and_has_its_appearance_s_seed(tmp_path: Path) -> None:
    config = read_config(OasisTraining, "layout_to_face")
    config.check()
    small = replace(
        config,
        network=replace(config.network, channels=1, hidden=4, noise=4, judge_share=0.02),
        layouts=replace(config.layouts, load_px=64, crop_px=64, held_every=4, appearances=2),
        loss=replace(config.loss, judge_from=1, heard_from=1, judge_px=64),
        run=replace(config.run, steps=2, batch=2),
        served=replace(config.served, appearance=1),
    )
    pairs = read_layouts(_appearing(tmp_path / "pairs"), config.layouts.classes)
    checkpoint = train_oasis(small, pairs, tmp_path / "run", say=str)
    filters = tmp_path / "filters"
    export_oasis(oasis_of_run(checkpoint)[0], small, pairs, "mask", str, filters=filters, precisions=("fp32",))
    manifest = load_filter("mask", folders=(filters,)).manifest
    assert (manifest.region, manifest.source, manifest.anonymous) == ("portrait", "portrait", True)
    assert (manifest.classes, manifest.title) == (PORTRAIT_CLASSES, config.served.title)
    assert manifest.seed == config.run.seed + 1
