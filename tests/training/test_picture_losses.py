"""A filter's losses against what they are defined as."""

import math

import pytest
import torch

from training.config import ConfigError
from training.picture_losses import (
    check_gan,
    flicker_loss,
    generator_loss,
    gradient_loss,
    judge_loss,
    warped,
)

pytestmark = pytest.mark.unit


def _grid(side: int) -> torch.Tensor:
    """Where the pixels of a picture lie in itself: [S, S, 2], x first."""
    along = torch.arange(float(side))
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), -1)


STILL = _grid(16)[None, None]


def test_vanilla_is_the_logarithm_of_what_the_judge_believes() -> None:
    logits = torch.full((1, 1, 2, 2), 0.7)
    believed = torch.sigmoid(torch.tensor(0.7)).item()
    assert generator_loss("vanilla", logits).item() == pytest.approx(-math.log(believed), rel=1e-5)
    both = judge_loss("vanilla", logits, logits).item()
    assert both == pytest.approx(0.5 * (-math.log(believed) - math.log(1 - believed)), rel=1e-5)


def test_least_squares_and_hinge_are_content_where_they_should_be() -> None:
    one, nought, far = torch.ones(3), torch.zeros(3), torch.full((3,), 4.0)
    assert judge_loss("lsgan", one, nought).item() == 0.0
    assert generator_loss("lsgan", one).item() == 0.0
    assert judge_loss("hinge", far, -far).item() == 0.0
    assert judge_loss("hinge", nought, nought).item() == 1.0
    assert generator_loss("hinge", far).item() == -4.0


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="gan is 'wgan', expected one of vanilla, lsgan, hinge"):
        check_gan("wgan")


def test_edges_do_not_mind_another_brightness() -> None:
    target = torch.rand(1, 3, 8, 8)
    # Rounding of float32.
    assert gradient_loss(target + 0.25, target).item() < 1e-6
    assert gradient_loss(target * 2, target).item() > 0.1


def test_an_error_that_moves_with_the_picture_is_no_flicker() -> None:
    target = torch.rand(1, 1, 3, 16, 16).expand(1, 2, 3, 16, 16)
    steady = target + torch.rand(1, 1, 3, 16, 16)
    assert flicker_loss(steady, target, STILL).item() < 1e-6
    restless = target + torch.rand(1, 2, 3, 16, 16)
    assert flicker_loss(restless, target, STILL).item() == pytest.approx(1 / 3, abs=0.05)  # of two random numbers


def test_whole_pixels_are_looked_up_exactly_and_beyond_the_picture_nothing_counts() -> None:
    picture = torch.rand(1, 3, 8, 8)
    two_right = (_grid(8) + torch.tensor([2.0, 0.0]))[None]
    moved, inside = warped(picture, two_right)
    # Rounding of the grid.
    assert torch.allclose(moved[..., :6], picture[..., 2:], atol=1e-5)
    assert inside[0, 0, 0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
