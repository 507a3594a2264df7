"""The lite generator: what it costs, what it sees, what it must leave alone, and how it moves pictures."""

from typing import Any

import pytest
import torch

from kernels.mel import LIPGAN_WINDOW, MelWindow
from models.cost import multiply_adds
from models.lipgan import LipGanConfig, LipGanGenerator, parameter_count
from models.lipgan_lite import FLOW_CELLS, FOLD, MARGIN_CELLS, SHARES, LipGanLite, LipGanLiteConfig, LiteSize
from tests.models.tiny import settle

pytestmark = pytest.mark.unit

SMALL = LipGanLiteConfig(size="s", crop_px=96)


def _inputs(crop_px: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    face = torch.rand(batch, 6, crop_px, crop_px)
    return face, 4 * torch.rand(batch, 1, 80, 27) - 2


def _drawing(config: LipGanLiteConfig = SMALL) -> LipGanLite:
    """Random weights; batch norm statistics of real activations make the pictures vary."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = LipGanLite(config)
    settle(generator, *_inputs(config.crop_px, batch=4))
    return generator.eval()


@pytest.mark.parametrize(
    ("size", "crop_px", "parameters", "gmac"),
    [
        ("s", 96, 3_571_076, 0.29),
        ("s", 192, 3_571_076, 0.98),
        ("m", 192, 8_551_364, 3.28),
        ("m", 256, 8_551_364, 5.65),
        ("l", 192, 20_060_676, 8.43),
        ("l", 256, 20_060_676, 14.6),
    ],
)
def test_a_size_has_its_parameters_and_multiply_adds(
    size: LiteSize, crop_px: int, parameters: int, gmac: float
) -> None:
    with torch.device("meta"):
        generator = LipGanLite(LipGanLiteConfig(size=size, crop_px=crop_px)).eval()
        counted = multiply_adds(generator, torch.zeros(1, 6, crop_px, crop_px), torch.zeros(1, 1, 80, 27))
    assert parameter_count(generator) == parameters
    assert round(counted / 1e9, 2) == gmac


@pytest.mark.parametrize("crop_px", [96, 192, 256])
def test_every_crop_gives_a_picture_of_its_size_in_range(crop_px: int) -> None:
    generator = _drawing(LipGanLiteConfig(size="s", crop_px=crop_px))
    with torch.no_grad():
        picture = generator(*_inputs(crop_px, batch=2))
    assert picture.shape == (2, 3, crop_px, crop_px)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture[:, :, crop_px // 2 :].std() > 0.05


def test_the_known_rows_are_the_targets_own() -> None:
    face, mel = _inputs(96)
    with torch.no_grad():
        picture = _drawing()(face, mel)
    first = 48 - MARGIN_CELLS * FOLD
    assert torch.equal(picture[:, :, :first], face[:, 3:, :first])
    # The blend begins and ends within a step of its neighbours.
    ramp = _drawing().drawn_share.flatten()
    assert len(ramp) == 96 - first
    assert (ramp.diff() <= 1 / 16 + 1e-6).all()
    assert ramp[0] <= 1 / 16
    assert (ramp[48 - first :] == 1).all(), "a row of the lower half is drawn whole"


def test_a_gradient_reaches_every_parameter() -> None:
    generator = LipGanLite(SMALL)
    torch.nn.init.normal_(generator.flow.weight, std=0.01)
    face, mel = _inputs(96, batch=3)
    picture = generator(face, mel)
    (picture - torch.rand_like(picture)).square().mean().backward()
    without = [name for name, each in generator.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


def test_a_fresh_generator_shows_mostly_what_it_was_shown() -> None:
    torch.manual_seed(0)
    generator = LipGanLite(SMALL).eval()
    face, mel = _inputs(96)
    with torch.no_grad():
        picture = generator(face, mel)
    assert (picture - face[:, 3:]).abs().mean() < 0.1 * (face[:, :3] - face[:, 3:]).abs().mean()


def test_each_stage_hears() -> None:
    """The sound must not come in at the coarsest grid alone."""
    generator = _drawing()
    heard = [sum(block.film is not None for block in blocks) for blocks in generator.decoder]  # type: ignore[attr-defined, union-attr]
    assert heard == [1, 1, 1, 2]


def test_the_sound_changes_the_lower_half_and_nothing_above_the_blend() -> None:
    generator = _drawing()
    face, mel = _inputs(96)
    with torch.no_grad():
        difference = (generator(face, mel) - generator(face, mel.flip(3))).abs()
    assert difference[:, :, 48:].mean() > 1e-3
    assert difference[:, :, : 48 - MARGIN_CELLS * FOLD].max() == 0


@pytest.mark.parametrize("crop_px", [96, 192, 256])
def test_the_lips_see_the_whole_face(crop_px: int) -> None:
    """A change in any corner of either picture reaches the middle of the mouth."""
    generator = _drawing(LipGanLiteConfig(size="s", crop_px=crop_px)).double()
    face, mel = _inputs(crop_px)
    face = face.double().requires_grad_()
    mouth = generator(face, mel.double())[:, :, crop_px * 3 // 4, crop_px // 2].sum()
    (slope,) = torch.autograd.grad(mouth, face)
    reached = slope[0].abs()
    corner = crop_px // 8
    assert reached[:3, :corner, :corner].any()
    assert reached[:3, -corner:, -corner:].any()
    assert reached[3:, :corner, -corner:].any()
    assert reached[3:, -corner:, :corner].any()


def test_no_grid_begins_in_the_pixel_shuffle() -> None:
    """With fresh weights all pixels of a cell are painted alike."""
    generator = _drawing()
    features = torch.rand(1, generator.draw.in_channels, 16, 24)
    with torch.no_grad():
        painted = torch.pixel_shuffle(generator.draw(features), FOLD)
    cells = painted.unfold(2, FOLD, FOLD).unfold(3, FOLD, FOLD)
    assert painted.std() > 0.01
    torch.testing.assert_close(cells.std(dim=(-1, -2)), torch.zeros(1, 6, 16, 24), atol=1e-6, rtol=0)


def _all_from(generator: LipGanLite, share: int) -> None:
    """Take every pixel from one of the sources."""
    with torch.no_grad():
        generator.draw.weight.zero_()
        generator.draw.bias.view(3 + 3, FOLD**2)[3 + share] = 60.0


@pytest.mark.parametrize(("share", "channels"), [(1, slice(3, 6)), (2, slice(0, 3))])
def test_a_picture_that_does_not_move_comes_through_to_the_pixel(share: int, channels: slice) -> None:
    generator = _drawing()
    _all_from(generator, share)
    with torch.no_grad():
        for parameter in generator.flow.parameters():
            parameter.zero_()
        face, mel = _inputs(96)
        picture = generator(face, mel)
    torch.testing.assert_close(picture[:, :, 48:], face[:, channels, 48:], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("share", "channels"), [(1, slice(3, 6)), (2, slice(0, 3))])
def test_a_flow_of_one_takes_pixels_from_two_cells_further(share: int, channels: slice) -> None:
    generator = _drawing()
    _all_from(generator, share)
    with torch.no_grad():
        for parameter in generator.flow.parameters():
            parameter.zero_()
        # x and y of the picture to change, then of the other one.
        generator.flow.bias[2 * (share - 1)] = 1.0
        generator.flow.bias[2 * (share - 1) + 1] = -0.5
        face, mel = _inputs(96)
        picture = generator(face, mel)
    right, up = round(FLOW_CELLS * FOLD), round(FLOW_CELLS * FOLD / 2)
    torch.testing.assert_close(
        picture[:, :, 48:, : 96 - right], face[:, channels, 48 - up : 96 - up, right:], atol=1e-4, rtol=0
    )


def test_a_flow_is_made_finer_bilinearly() -> None:
    """Pixels are worked on cell by cell; what comes out is what would, were they worked on row by row."""
    generator = _drawing()
    torch.nn.init.normal_(generator.flow.weight, std=0.1)
    coarse: list[torch.Tensor] = []
    generator.flow.register_forward_hook(lambda _module, _inputs, output: coarse.append(output))
    with torch.no_grad():
        places = generator.drawn(*_inputs(96, batch=2)).places
        generator.flow.weight.zero_()
        still = generator.drawn(*_inputs(96, batch=2)).places
    finer = torch.nn.functional.interpolate(coarse[0], scale_factor=FOLD, mode="bilinear")
    moved = finer.unflatten(1, (2, 2)) * FLOW_CELLS * FOLD * 2 / 96
    assert moved.std() > 0.01
    torch.testing.assert_close(places, still + moved, atol=1e-5, rtol=0)


def test_a_drawing_says_where_pixels_came_from() -> None:
    generator = LipGanLite(SMALL).eval()
    face, mel = _inputs(96)
    with torch.no_grad():
        _, places, shares = generator.drawn(face, mel)
    rows = 48 + MARGIN_CELLS * FOLD
    assert places.shape == (1, 2, 2, rows, 96)
    assert shares.shape == (1, len(SHARES), rows, 96)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, rows, 96))
    # Pixel middles, from the left edge at -1 to the right one at 1.
    torch.testing.assert_close(places[0, 0, 0, 0], (torch.arange(96) + 0.5) / 48 - 1)
    torch.testing.assert_close(places[0, 1, 1, :, 0], (torch.arange(96 - rows, 96) + 0.5) / 48 - 1)


def test_the_sound_encoder_takes_what_lipgan_has_learned() -> None:
    lipgan = LipGanGenerator(LipGanConfig(width=SMALL.width))
    lite = LipGanLite(SMALL)
    lite.sound.load_state_dict(lipgan.sound.state_dict())
    _, mel = _inputs(96)
    lipgan.eval(), lite.eval()
    assert torch.equal(lite.sound(mel), lipgan.sound(mel))


def test_a_config_survives_its_own_dictionary() -> None:
    config = LipGanLiteConfig(size="l", crop_px=256, look_ahead_ms=80)
    assert LipGanLiteConfig.from_dict(config.as_dict()) == config
    assert config.window == MelWindow(27, 4)
    assert LipGanLiteConfig().window == LIPGAN_WINDOW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "xl"}, "expected size s, m, l"),
        ({"variant": "basic"}, "no such lite LipGAN"),
        ({"crop_px": 100}, "crop_px is 100, expected a multiple of 32"),
        ({"crop_px": 0}, "expected a multiple of 32"),
        ({"look_ahead_ms": -1}, "look_ahead is -3"),
        ({"width": 0.0}, "width must be positive"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LipGanLiteConfig.from_dict({**SMALL.as_dict(), **change})
