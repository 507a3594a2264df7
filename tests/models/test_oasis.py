"""OASIS has the published layers: parameters and multiply-adds say so; its noise can be pinned."""

import pytest
import torch
from torch import nn

from models.cost import multiply_adds
from models.oasis import OasisConfig, OasisDiscriminator, OasisGenerator, slim

pytestmark = pytest.mark.unit

SMALL = OasisConfig(5, noise=4, channels=2, hidden=8)

# Classes, height and width, millions of parameters, GMAC.
PUBLISHED = {
    "Cityscapes": (35, 256, 512, 71.1, 318.6),
    "ADE20K": (151, 256, 256, 74.3, 194.4),
    "COCO-Stuff": (183, 256, 256, 75.2, 204.0),
    "twelve classes": (12, 256, 256, 70.5, 152.4),
}


def _parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def _giga(config: OasisConfig, height: int, width: int) -> float:
    with torch.device("meta"):
        inputs = torch.zeros(1, config.classes, height, width), torch.zeros(1, config.noise)
        return multiply_adds(OasisGenerator(config).eval(), *inputs) / 1e9


def _layout(count: int, classes: int, height: int, width: int) -> torch.Tensor:
    labels = torch.randint(classes, (count, height // 8, width // 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_generator_has_the_published_parameters_and_multiply_adds(name: str) -> None:
    classes, height, width, millions, giga = PUBLISHED[name]
    config = OasisConfig(classes)
    with torch.device("meta"):
        assert _parameters(OasisGenerator(config)) / 1e6 == pytest.approx(millions, abs=0.05)
    assert _giga(config, height, width) == pytest.approx(giga, abs=0.05)


def test_a_quarter_of_the_channels_costs_what_the_reference_says() -> None:
    config = OasisConfig(12, channels=16)
    with torch.device("meta"):
        assert _parameters(OasisGenerator(config)) / 1e6 == pytest.approx(9.7, abs=0.05)
    assert _giga(config, 256, 256) == pytest.approx(48.3, abs=0.05)


@pytest.mark.parametrize(("classes", "width", "giga"), [(35, 512, 96.8), (151, 256, 48.9)])
def test_the_discriminator_has_the_published_parameters_and_multiply_adds(
    classes: int, width: int, giga: float
) -> None:
    with torch.device("meta"):
        judge = OasisDiscriminator(classes)
        assert _parameters(judge) / 1e6 == pytest.approx(22.25, abs=0.02)
        assert multiply_adds(judge.eval(), torch.zeros(1, 3, 256, width)) / 1e9 == pytest.approx(giga, abs=0.05)
        assert judge(torch.zeros(1, 3, 64, 64)).shape == (1, classes + 1, 64, 64)


def test_the_slim_generator_is_an_eleventh_of_one_with_as_few_channels() -> None:
    assert _giga(slim(12), 256, 256) == pytest.approx(4.2, abs=0.05)


@pytest.mark.parametrize("fold", [1, 2, 4, 8])
@pytest.mark.parametrize("style", [False, True])
def test_any_size_that_is_a_multiple_of_32_is_drawn(fold: int, style: bool) -> None:
    generator = OasisGenerator(OasisConfig(5, noise=4, channels=2, hidden=8, fold=fold, style=style)).eval()
    drawn = generator(_layout(2, 5, 64, 96))
    assert drawn.shape == (2, 3, 64, 96)
    assert drawn.abs().max() <= 1


def test_pinned_noise_draws_the_same_picture_and_other_noise_another() -> None:
    torch.manual_seed(0)
    generator, layout = _bold(OasisGenerator(SMALL)), _layout(1, 5, 64, 64)
    z, other = torch.randn(2, 1, 4)
    assert torch.equal(generator(layout, z), generator(layout, z))
    assert not torch.equal(generator(layout, z), generator(layout, other))
    assert not torch.equal(generator(layout), generator(layout))
    everywhere = z[:, :, None, None].expand(1, 4, 64, 64)
    assert torch.equal(generator(layout, z), generator(layout, everywhere))


def test_the_style_branch_gives_each_channel_a_scale_and_a_shift_by_the_noise() -> None:
    torch.manual_seed(0)
    config = OasisConfig(5, noise=4, channels=2, hidden=8, norm="instance", style=True)
    generator, layout = _bold(OasisGenerator(config)), _layout(1, 5, 64, 64)
    with torch.no_grad():
        # Without the noise beside the layout, the style branch is all that the noise can do.
        for name, weight in generator.named_parameters():
            if "shared.weight" in name or name == "enter.weight":
                weight[:, :4] = 0
    z, other = torch.randn(2, 1, 4)
    assert not torch.equal(generator(layout, z), generator(layout, other))


def test_the_noise_moves_nothing_in_a_network_without_the_style_branch_when_spade_does_not_see_it() -> None:
    torch.manual_seed(0)
    generator, layout = _bold(OasisGenerator(SMALL)), _layout(1, 5, 64, 64)
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if "shared.weight" in name or name == "enter.weight":
                weight[:, :4] = 0
    z, other = torch.randn(2, 1, 4)
    assert torch.equal(generator(layout, z), generator(layout, other))


def test_every_residual_convolution_has_a_spectral_norm_of_one_and_no_other_has() -> None:
    torch.manual_seed(0)
    generator, judge = OasisGenerator(SMALL), OasisDiscriminator(5, (3, 8, 8, 16))
    for network, count in ((generator, 16), (judge, 17)):
        normed = [layer for layer in network.modules() if hasattr(layer, "parametrizations")]
        assert len(normed) == count
        network.train()
        for _ in range(30):
            _draw(network)
        for layer in normed:
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            # 30 steps of the power method find the largest singular value to a percent.
            assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2) == pytest.approx(1, abs=0.03)


def _draw(network: nn.Module) -> None:
    with torch.no_grad():
        network(_layout(2, 5, 64, 64) if isinstance(network, OasisGenerator) else torch.rand(2, 3, 64, 64))


def _bold(generator: OasisGenerator) -> OasisGenerator:
    """Weights of a size at which inputs show in the picture."""
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if weight.ndim > 1 and "parametrizations" not in name:
                weight.mul_(30)
    return generator.eval()


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="fold is 3, expected 1, 2, 4 or 8"):
        OasisConfig(5, fold=3)
    with pytest.raises(ValueError, match="classes is 0, expected at least 1"):
        OasisConfig(0)
    with pytest.raises(ValueError, match=r"unknown fields \['ngf'\]"):
        OasisConfig.from_dict({"classes": 5, "ngf": 64})
    assert OasisConfig.from_dict(SMALL.as_dict()) == SMALL
