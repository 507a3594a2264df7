"""Losses that need no network."""

import pytest
import torch

from training.losses import mixed_loss

pytestmark = pytest.mark.unit


def test_beads_cost_more_than_one_sharp_edge() -> None:
    edge = torch.zeros(1, 1, 8, 16)
    edge[..., 4:, :] = 1
    beads = edge.clone()
    beads[..., 4, ::2] = 0
    assert mixed_loss(torch.ones(1, 1, 8, 16)) == 0
    assert mixed_loss(edge) < mixed_loss(beads)
    torch.testing.assert_close(mixed_loss(edge), torch.tensor(1 / 7))
