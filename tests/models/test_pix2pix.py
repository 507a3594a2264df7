"""The networks of Pix2Pix have the published layers: parameters, multiply-adds and receptive fields say so."""

import pytest
import torch
from torch import nn

from models.cost import multiply_adds
from models.pix2pix import (
    RECEPTIVE_FIELD_LAYERS,
    PatchGan,
    PatchGanConfig,
    ResNetConfig,
    ResNetGenerator,
    UNetConfig,
    UNetGenerator,
)

pytestmark = pytest.mark.unit


def _parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def _giga(network: nn.Module, *shape: int) -> float:
    with torch.device("meta"):
        frame = torch.zeros(shape)
    return multiply_adds(network.to("meta"), frame) / 1e9


def test_the_u_net_256_has_the_published_parameters_and_multiply_adds() -> None:
    generator = UNetGenerator()
    assert _parameters(generator) == 54_413_955
    assert _giga(generator, 1, 3, 256, 256) == pytest.approx(6.05, abs=0.005)


@pytest.mark.parametrize(("channels", "millions", "giga"), [(32, 13.6, 1.55), (16, 3.40, 0.406)])
def test_narrow_u_nets_cost_what_the_reference_says(channels: int, millions: float, giga: float) -> None:
    generator = UNetGenerator(UNetConfig(channels=channels))
    assert _parameters(generator) / 1e6 == pytest.approx(millions, rel=0.005)
    assert _giga(generator, 1, 3, 256, 256) == pytest.approx(giga, rel=0.005)


def test_the_u_net_128_has_the_published_parameters_and_multiply_adds() -> None:
    generator = UNetGenerator(UNetConfig(downs=7))
    assert _parameters(generator) / 1e6 == pytest.approx(41.8, abs=0.05)
    assert _giga(generator, 1, 3, 128, 128) == pytest.approx(1.51, abs=0.005)


def test_resnet_9_has_the_published_parameters_and_multiply_adds() -> None:
    generator = ResNetGenerator()
    assert _parameters(generator) / 1e6 == pytest.approx(11.378, abs=0.0005)
    assert _giga(generator, 1, 3, 256, 256) == pytest.approx(49.55, abs=0.005)


def test_the_70_pixel_discriminator_has_the_published_parameters_and_grid() -> None:
    judge = PatchGan()
    assert _parameters(judge) == 2_768_705
    with torch.device("meta"):
        condition, picture = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
    judge.to("meta")
    assert multiply_adds(judge, condition, picture) / 1e9 == pytest.approx(3.20, abs=0.005)
    assert judge(condition, picture).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("receptive_px", sorted(RECEPTIVE_FIELD_LAYERS))
def test_a_judgement_sees_a_patch_of_its_receptive_field_and_nothing_else(receptive_px: int) -> None:
    judge = PatchGan(PatchGanConfig(receptive_px=receptive_px, channels=2, norm="none")).double()
    for layer in judge.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 0.5)
    side = 3 * receptive_px + 64
    picture = torch.zeros(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    logits = judge(picture, torch.zeros_like(picture))
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert picture.grad is not None
    rows, columns = torch.nonzero(picture.grad[0].abs().sum(0), as_tuple=True)
    assert int(rows.max() - rows.min()) + 1 == int(columns.max() - columns.min()) + 1 == receptive_px


def test_dropout_is_on_the_second_to_fourth_layer_of_the_published_implementation_and_off_when_drawing() -> None:
    torch.manual_seed(0)
    generator = UNetGenerator(UNetConfig(channels=2))
    assert [isinstance(each, nn.Dropout) for each in generator.drop] == [False, True, True, True, False, False, False]
    frame = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        assert not torch.equal(generator(frame), generator(frame))
        generator.eval()
        assert torch.equal(generator(frame), generator(frame))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_a_generator_keeps_the_size_and_the_range(norm: str) -> None:
    for generator in (
        UNetGenerator(UNetConfig(downs=5, channels=4, norm=norm)),  # type: ignore[arg-type]
        ResNetGenerator(ResNetConfig(blocks=2, channels=4, norm=norm, upsampling="bilinear")),  # type: ignore[arg-type]
    ):
        drawn = generator.eval()(torch.randn(2, 3, 64, 96))
        assert drawn.shape == (2, 3, 64, 96)
        assert drawn.abs().max() <= 1


def test_what_was_not_built_is_refused_with_what_can_be() -> None:
    with pytest.raises(ValueError, match="receptive_px is 71, expected one of 1, 16, 34, 70, 142, 286"):
        PatchGanConfig(receptive_px=71)
    with pytest.raises(ValueError, match="norm is 'layer', expected one of batch, instance, none"):
        UNetConfig.from_dict({"norm": "layer"})
    with pytest.raises(ValueError, match=r"unknown fields \['ngf'\] for UNetConfig"):
        UNetConfig.from_dict({"ngf": 64})


def test_a_configuration_survives_its_own_dictionary() -> None:
    for config in (UNetConfig(channels=16), ResNetConfig(blocks=6), PatchGanConfig(16)):
        assert type(config).from_dict(config.as_dict()) == config
