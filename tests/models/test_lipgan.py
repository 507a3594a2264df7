"""The published networks: counts, shapes, and the padding that puts every pixel where Keras puts it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from models.cost import multiply_adds
from models.layers import TransposedBlock, same_conv
from models.lipgan import (
    FACE_SIZE,
    SOUND_SIZE,
    FrontEnd,
    LipGanConfig,
    LipGanGenerator,
    SyncDiscriminator,
    Variant,
    contrastive_loss,
    parameter_count,
)

pytestmark = pytest.mark.unit

PUBLISHED = [
    ("basic", "mfcc", 24_922_771, 1.44),
    ("basic", "mel", 21_469_843, 1.27),
    ("residual", "mfcc", 71_331_987, 5.55),
    ("residual", "mel", 49_543_123, 3.94),
]


def _inputs(front_end: FrontEnd, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(batch, 6, FACE_SIZE, FACE_SIZE), torch.zeros(batch, 1, *SOUND_SIZE[front_end])


@pytest.mark.parametrize(("variant", "front_end", "parameters", "gmac"), PUBLISHED)
def test_a_generator_has_the_published_parameters_and_multiply_adds(
    variant: Variant, front_end: FrontEnd, parameters: int, gmac: float
) -> None:
    with torch.device("meta"):
        generator = LipGanGenerator(LipGanConfig(variant, front_end)).eval()
        counted = multiply_adds(generator, *_inputs(front_end))
    assert parameter_count(generator) == parameters
    assert round(counted / 1e9, 2) == gmac


@pytest.mark.parametrize(("front_end", "parameters"), [("mfcc", 14_382_742), ("mel", 8_240_022)])
def test_the_discriminator_has_the_published_size(front_end: FrontEnd, parameters: int) -> None:
    with torch.device("meta"):
        assert parameter_count(SyncDiscriminator(front_end)) == parameters


@pytest.mark.parametrize("variant", ["basic", "residual"])
@pytest.mark.parametrize("front_end", ["mel", "mfcc"])
@pytest.mark.parametrize("width", [0.05, 0.3, 0.5])
def test_every_width_draws_pictures_in_range(variant: Variant, front_end: FrontEnd, width: float) -> None:
    generator = LipGanGenerator(LipGanConfig(variant, front_end, width)).eval()
    with torch.no_grad():
        picture = generator(*_inputs(front_end, batch=2))
    assert picture.shape == (2, 3, FACE_SIZE, FACE_SIZE)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_a_width_gives_even_channels_of_at_least_eight() -> None:
    config = LipGanConfig(width=0.3)
    assert [config.channels(n) for n in (16, 32, 64, 128, 512)] == [8, 10, 20, 38, 154]


def test_a_config_survives_its_own_dictionary_and_refuses_others() -> None:
    config = LipGanConfig("residual", "mfcc", 0.75)
    assert LipGanConfig.from_dict(config.as_dict()) == config
    with pytest.raises(ValueError, match="expected basic"):
        LipGanConfig.from_dict({**config.as_dict(), "variant": "huge"})
    with pytest.raises(ValueError, match="positive"):
        LipGanConfig.from_dict({**config.as_dict(), "width": 0})


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "first"),
    [(96, 7, 2, -2), (48, 5, 2, -1), (24, 3, 2, 0), (80, 3, 3, 0), (27, 3, 3, 0), (9, 3, 1, -1), (35, 3, 2, -1)],
)
def test_same_convolution_starts_where_keras_starts(size: int, kernel: int, stride: int, first: int) -> None:
    """`first` is the input index under the kernel's first cell for output 0, by TensorFlow's rule for SAME."""
    conv = same_conv(1, 1, (size, 1), kernel=(kernel, 1), stride=(stride, 1))
    with torch.no_grad():
        conv[-1].weight.copy_(torch.arange(1.0, kernel + 1).view(1, 1, -1, 1))
        conv[-1].bias.zero_()
        out = conv(torch.arange(1.0, size + 1).view(1, 1, size, 1)).flatten().numpy()
    padded = np.concatenate([np.zeros(20), np.arange(1.0, size + 1), np.zeros(20)])
    starts = 20 + first + stride * np.arange(-(-size // stride))
    expected = [float(padded[at : at + kernel] @ np.arange(1.0, kernel + 1)) for at in starts]
    np.testing.assert_allclose(out, expected)


def test_transposed_convolution_is_the_gradient_of_same_convolution() -> None:
    """Keras defines its Conv2DTranspose so; an output shifted by a pixel would fail."""
    torch.manual_seed(0)
    block = TransposedBlock(2, 3, stride=2).double()
    assert isinstance(block.conv, torch.nn.ConvTranspose2d)
    assert block.conv.bias is not None
    torch.nn.init.zeros_(block.conv.bias)
    block.norm = torch.nn.Identity()  # type: ignore[assignment]
    small = torch.rand(1, 2, 5, 7, dtype=torch.double)
    large = torch.zeros(1, 3, 10, 14, dtype=torch.double, requires_grad=True)
    forward = torch.nn.functional.conv2d(torch.nn.functional.pad(large, (0, 1, 0, 1)), block.conv.weight, stride=2)
    (gradient,) = torch.autograd.grad(forward, large, small)
    torch.testing.assert_close(block(small), torch.relu(gradient))


def test_embeddings_have_unit_length_and_distances_stay_below_two() -> None:
    torch.manual_seed(0)
    judge = SyncDiscriminator("mel", width=0.1)
    picture, mel = torch.rand(3, 3, FACE_SIZE, FACE_SIZE), torch.randn(3, 1, 80, 27)
    torch.testing.assert_close(judge.embed_face(picture).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(judge.embed_sound(mel).norm(dim=1), torch.ones(3))
    assert (judge(picture, mel) <= 2).all()


def test_the_contrastive_loss_pulls_pairs_together_and_pushes_others_to_the_margin() -> None:
    distance = torch.tensor([0.5, 0.25, 1.5])
    assert contrastive_loss(distance, torch.tensor([0.0, 1.0, 1.0])).item() == pytest.approx((0.25 + 0.5625 + 0) / 3)


def test_equal_embeddings_have_a_finite_gradient() -> None:
    judge = SyncDiscriminator("mel", width=0.05)
    judge.sound = judge.face
    picture = torch.rand(1, 3, FACE_SIZE, FACE_SIZE, requires_grad=True)
    judge(picture, picture).sum().backward()
    assert picture.grad is not None
    assert picture.grad.isfinite().all()


def test_the_catalogue_loads_without_torch() -> None:
    shown = "import sys, models, models.catalogue; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout == "False\n"
