"""What makes a filter steady: still pictures come to rest, a frozen one at once; what moves, and a cut, is not held."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.filter_graphs import as_served
from models.filter_networks import (
    FilterNetwork,
    filter_inputs,
    filter_outputs,
    is_recurrent,
    load_filter_weights,
    save_filter_weights,
)
from models.oasis import OasisConfig, OasisGenerator
from models.pix2pix import UNetConfig, UNetGenerator
from models.plane_filter import PlaneFilter, PlaneFilterConfig, cells_of_rgb
from models.steady_filter import SteadyConfig, SteadyFilter, Steadying, plane_looks, rgb_looks
from models.tiny_filter import TinyFilter, TinyFilterConfig

pytestmark = pytest.mark.unit

PLANES = PlaneFilterConfig(middle=8, coarse=8)
SIZE = 64, 96


def _steady(kind: str = "planes") -> SteadyFilter:
    torch.manual_seed(3)
    inner: dict[str, torch.nn.Module] = {
        "planes": PlaneFilter(PLANES),
        "tiny": TinyFilter(TinyFilterConfig("a", residual=True)),
        "unet": UNetGenerator(UNetConfig(downs=5, channels=4, norm="none", dropout=False)),
    }
    return SteadyFilter(inner[kind]).eval()


def _picture(seed: int = 1) -> Tensor:
    """A smooth picture, away from black and white."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 6, generator=source) - 0.5
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic")


def _grained(picture: Tensor, seed: int) -> Tensor:
    return (picture + 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


@torch.no_grad()
def _film(network: SteadyFilter, frames: list[Tensor]) -> list[Tensor]:
    drawn: list[Tensor] = []
    state: list[Tensor] = []
    for frame in frames:
        picture, *state = network(frame, *state)
        drawn.append(picture)
    return drawn


@torch.no_grad()
def _alone(network: SteadyFilter, frames: list[Tensor]) -> list[Tensor]:
    return [network(each)[0] for each in frames]


def _changes(film: list[Tensor]) -> float:
    return float(np.mean([(b - a).abs().mean().item() for a, b in pairwise(film)]))


@pytest.mark.parametrize("kind", ["planes", "tiny", "unet"])
def test_grain_on_a_still_picture_changes_what_is_drawn_less_around_any_network(kind: str) -> None:
    network = _steady(kind)
    film = [_grained(_picture(), seed) for seed in range(6)]
    assert _changes(_film(network, film)[2:]) < 0.5 * _changes(_alone(network, film)[2:])


@pytest.mark.parametrize("kind", ["planes", "tiny", "unet"])
def test_the_first_picture_is_the_networks_own_and_a_frozen_one_stays_to_the_bit(kind: str) -> None:
    network = _steady(kind)
    frozen = _grained(_picture(), 9)
    film = _film(network, [_grained(_picture(), seed) for seed in range(3)] + [frozen] * 4)
    assert all(torch.equal(film[3], each) for each in film[4:])
    fresh = _film(network, [frozen] * 3)
    assert torch.allclose(fresh[0], _alone(network, [frozen])[0])
    assert torch.equal(fresh[0], fresh[2])


def test_after_a_cut_nothing_of_the_scene_before_is_left() -> None:
    network = _steady()
    before, after = _picture(1), (_picture(2) + 0.6).clamp(-1, 1)
    film = _film(network, [before, before, after])
    assert torch.equal(film[2], _alone(network, [after])[0])


def test_what_moves_far_is_not_held_and_what_stands_beside_it_is() -> None:
    network = _steady("tiny")
    places = [8, 24, 40, 56]
    film = []
    for seed, place in enumerate(places):
        frame = _grained(_picture(), seed)
        frame[..., 20:36, place : place + 8] = 0.95
        film.append(frame)
    drawn, alone = _film(network, film), _alone(network, film)
    for place in (*places[:3], places[3]):
        # Where the block is, and where it was: as if there had been no frame before, but for a trace below a level.
        box = (..., slice(22, 34), slice(place + 1, place + 7))
        assert (drawn[3][box] - alone[3][box]).abs().mean() < 0.03
    assert _changes([each[..., :16, :] for each in drawn[1:]]) < 0.7 * _changes(
        [each[..., :16, :] for each in alone[1:]]
    )


def test_a_step_of_light_is_followed_at_once() -> None:
    network = _steady("tiny")
    dark = _picture()
    bright = (dark + 0.4).clamp(-1, 1)
    film, alone = (draw(network, [dark, dark, bright, bright]) for draw in (_film, _alone))
    assert torch.allclose(film[2], alone[2], atol=1 / 127.5)


def test_the_same_is_seen_of_a_picture_folded_as_planes_and_as_rgb() -> None:
    picture = torch.nn.functional.interpolate(_picture(), scale_factor=1.0)
    rgb = torch.nn.functional.pixel_unshuffle((picture + 1) * 127.5, 4)
    ours, other = Steadying(plane_looks()).look(cells_of_rgb(picture)), Steadying(rgb_looks()).look(rgb)
    # Planes are rounded to levels.
    assert (ours - other).abs().max() < 1.5 / 255
    assert ours[:, 0].min() > 0
    black = -torch.ones(1, 3, 8, 8)
    assert Steadying(rgb_looks()).look(torch.nn.functional.pixel_unshuffle((black + 1) * 127.5, 4))[:, 0].min() > 0


def test_what_makes_it_steady_learns_from_a_film_and_the_network_draws_as_it_is_served() -> None:
    network = _steady().train()
    network.requires_grad_(requires_grad=True)
    assert not network.network.training
    state: list[Tensor] = []
    total = torch.zeros(())
    for seed in range(3):
        picture, *state = network(_grained(_picture(), seed), *state)
        total = total + picture.square().mean()
    total.backward()  # type: ignore[no-untyped-call]
    gradients = {name: each.grad for name, each in network.steadying.named_parameters()}
    assert all(each is not None for each in gradients.values())
    assert gradients["pull"] is not None
    assert gradients["pull"].abs() > 0


@pytest.mark.parametrize("kind", ["planes", "tiny", "unet"])
def test_weights_of_whatever_is_inside_go_to_disk_and_back(kind: str, tmp_path: Path) -> None:
    network = _steady(kind)
    save_filter_weights(tmp_path / "filter.safetensors", network, storage="float32")
    back = load_filter_weights(tmp_path / "filter.safetensors")
    assert isinstance(back, SteadyFilter)
    film = [_grained(_picture(), seed) for seed in range(3)]
    for ours, theirs in zip(_film(network, film), _film(back, film), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["planes", "tiny"])
def test_an_engine_is_told_the_frame_before_and_what_was_drawn_of_it(kind: str) -> None:
    network = _steady(kind)
    served = as_served(network, SIZE)
    given, drawn = filter_inputs(served, SIZE), filter_outputs(served, SIZE)
    assert [each.name for each in given] == ["frame", "state", "last"]
    assert [each.name for each in drawn] == ["frame", "last"]
    assert replace(given[1], name="frame") == given[0]
    assert given[2] == drawn[1]
    assert filter_inputs(served, SIZE) == filter_inputs(network, SIZE)
    assert is_recurrent(network)


@pytest.mark.parametrize(
    "inner",
    [
        TinyFilter(TinyFilterConfig(memory="previous", state_channels=8)),
        OasisGenerator(OasisConfig(classes=5, channels=4)),
    ],
)
def test_a_network_with_a_memory_or_without_a_picture_is_refused(inner: FilterNetwork) -> None:
    with pytest.raises(ValueError, match="no memory of its own"):
        SteadyFilter(inner)


def test_a_config_of_unknown_fields_is_refused() -> None:
    assert SteadyConfig.from_dict(SteadyConfig(4).as_dict()) == SteadyConfig(4)
    with pytest.raises(ValueError, match="unknown fields"):
        SteadyConfig.from_dict({"width": 3})
    with pytest.raises(ValueError, match="channels is 0"):
        SteadyConfig(0)
    with pytest.raises(ValueError, match="caution is 0"):
        SteadyConfig(caution=0.0)


def test_more_caution_holds_less() -> None:
    film = [_grained(_picture(), seed) for seed in range(6)]
    changes = []
    for caution in (0.5, 3.0, 50.0):
        network = _steady()
        network.steadying.config = SteadyConfig(caution=caution)
        changes.append(_changes(_film(network, film)[2:]))
    assert changes == sorted(changes)
    assert changes[2] > 1.1 * changes[0]
