"""The network on planes: it begins as a blur, draws in bytes what it draws in RGB, and knows its picture as a whole."""

import copy

import numpy as np
import pytest
import torch

from kernels.folded_planes import CELL_BYTES, folded
from kernels.yuv import rgb_to_i420
from models.cost import multiply_adds
from models.filter_graphs import as_served, in_cells, rgb_of
from models.plane_filter import FoldedFilter, PlaneFilter, PlaneFilterConfig, cells_of_rgb, rgb_of_cells

pytestmark = pytest.mark.unit


def network(seed: int = 0) -> PlaneFilter:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return PlaneFilter().eval()


def picture(height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    """Smooth random colours, float [1, 3, H, W]."""
    torch.manual_seed(seed)
    coarse = torch.rand(1, 3, height // 16, width // 16) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


def test_it_costs_an_eighth_of_the_network_it_replaces() -> None:
    cells = torch.zeros(1, 120, 160, CELL_BYTES, dtype=torch.uint8)
    served = as_served(network(), (480, 640))
    assert multiply_adds(served, cells) / 1e9 == pytest.approx(0.43, abs=0.02)
    assert sum(each.numel() for each in network().parameters()) < 150_000


def test_cells_of_rgb_are_those_of_the_kernels() -> None:
    shown = picture()
    levels = np.rint((shown[0].numpy() + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    expected = folded(rgb_to_i420(np.ascontiguousarray(levels)))
    found = cells_of_rgb(torch.from_numpy(levels.transpose(2, 0, 1) / 127.5 - 1.0)[None].float())
    # OpenCV rounds the mean of four pixels before it weighs them.
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() <= 1
    back = rgb_of_cells(cells_of_rgb(shown), clamped=True)
    # Chroma is rounded, and of half the size: at edges colours are some levels off.
    assert (back - shown).abs().mean() * 127.5 < 1


def test_the_served_network_draws_in_bytes_what_it_draws_in_rgb() -> None:
    made, shown = network(), picture()
    served = as_served(made, (64, 96))
    assert isinstance(served, FoldedFilter)
    drawn = served(torch.from_numpy(in_cells(shown.numpy())))
    assert drawn.dtype == torch.uint8
    with torch.no_grad():
        expected = made(shown).numpy()
    assert np.abs(rgb_of(drawn.numpy()) - expected).mean() * 127.5 < 1


def test_serving_a_copy_leaves_the_original_as_it_was() -> None:
    made, shown = network(), picture()
    with torch.no_grad():
        before = made(shown)
        as_served(made, (64, 96))
        assert torch.equal(made(shown), before)


def test_a_new_network_blurs_what_it_is_shown_and_no_more() -> None:
    made, shown = network(), picture()
    grain = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.no_grad():
        smooth, grainy = made(shown), made(shown + grain)
    assert (smooth - shown).abs().mean() < 0.05
    assert (grainy - smooth).std() < 0.6 * grain.std()


def test_what_is_far_away_counts_by_its_mean() -> None:
    made, shown = network(), picture(64, 256)
    other = shown.clone()
    other[..., 192:] = 0.9
    with torch.no_grad():
        near, far = made(shown), made(other)
    assert not torch.equal(near[..., :32], far[..., :32])


def test_weights_survive_their_own_dictionary_and_a_copy() -> None:
    made, shown = network(3), picture()
    again = PlaneFilter(PlaneFilterConfig.from_dict(made.config.as_dict())).eval()
    again.load_state_dict(made.state_dict())
    with torch.no_grad():
        assert torch.equal(again(shown), made(shown))
        assert torch.equal(copy.deepcopy(made)(shown), made(shown))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="fine is 24, expected at least 32"):
        PlaneFilterConfig(fine=24)
    with pytest.raises(ValueError, match=r"unknown fields \['size'\] for a plane filter"):
        PlaneFilterConfig.from_dict({"size": "b"})
