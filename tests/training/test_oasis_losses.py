"""OASIS' losses: balanced classes, a class for what was drawn, pictures mixed by class."""

import copy

import pytest
import torch
from torch import nn

from training.oasis_losses import (
    average_into,
    class_balance,
    drawn_loss,
    label_mask,
    label_mix_loss,
    mixed,
    real_loss,
    settle_statistics,
)

pytestmark = pytest.mark.unit


def _layout(labels: list[list[int]], classes: int) -> torch.Tensor:
    return nn.functional.one_hot(torch.tensor([labels]), classes).permute(0, 3, 1, 2).float()


def test_all_classes_that_are_there_weigh_the_same() -> None:
    layout = _layout([[0, 0, 0, 1], [0, 0, 0, 3]], 5)
    weights = class_balance(layout)
    assert weights.tolist() == [[[pytest.approx(8 / (3 * 6))] * 3 + [pytest.approx(8 / 3)]] * 2]
    assert weights.mean() == pytest.approx(1)


def test_pixels_of_which_nothing_is_known_do_not_count() -> None:
    layout = _layout([[0, 0, 1, 2]], 3)
    assert class_balance(layout, dont_care=0).tolist() == [[[0, 0, 2, 2]]]
    assert class_balance(_layout([[0, 0]], 3), dont_care=0).tolist() == [[[0, 0]]]


def test_a_real_pixel_is_its_class_plus_one_and_a_drawn_one_is_zero() -> None:
    layout = _layout([[0, 1, 2]], 3)
    sure = 50 * nn.functional.one_hot(torch.tensor([[[1, 2, 3]]]), 4).permute(0, 3, 1, 2).float()
    assert real_loss(sure, layout) == pytest.approx(0, abs=1e-6)
    assert drawn_loss(sure) == pytest.approx(50, abs=1e-3)
    assert drawn_loss(-sure.roll(1, 1)) > 0
    assert real_loss(torch.zeros(1, 4, 1, 3), layout) == pytest.approx(torch.log(torch.tensor(4.0)).item())


def test_the_loss_of_a_rare_class_is_raised_to_that_of_a_common_one() -> None:
    layout = _layout([[0] * 9 + [1]], 2)
    wrong_common, wrong_rare = torch.zeros(2, 1, 3, 1, 10)
    wrong_common[:, 0, :, :9] = 4
    wrong_rare[:, 0, :, 9:] = 4
    assert real_loss(wrong_common, layout) == pytest.approx(real_loss(wrong_rare, layout).item())


def test_a_mask_has_one_value_for_each_class_of_each_picture() -> None:
    source = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (16, 8, 8), generator=source)
    mask = label_mask(nn.functional.one_hot(labels, 6).permute(0, 3, 1, 2).float(), source)
    assert mask.shape == (16, 1, 8, 8)
    coins = [mask[i, 0][labels[i] == label].unique() for i in range(16) for label in labels[i].unique()]
    assert all(len(coin) == 1 for coin in coins)
    assert {coin.item() for coin in coins} == {0.0, 1.0}


def test_a_mixed_picture_shows_the_real_one_where_the_mask_is_one() -> None:
    mask = torch.tensor([[[[1.0, 0.0]]]])
    real, drawn = torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    assert torch.equal(mixed(mask, real, drawn)[0, 0], torch.tensor([[1.0, 0.0]]))
    assert label_mix_loss(mixed(mask, real, drawn), mask, real, drawn) == 0
    assert label_mix_loss(real, mask, real, drawn) == 0.5


def test_an_average_moves_a_step_towards_the_network_and_takes_over_counts() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = copy.deepcopy(network)
    with torch.no_grad():
        network[0].weight.fill_(1)
        average[0].weight.fill_(0)
    network[1].num_batches_tracked.fill_(7)
    average_into(average, network, 0.9)
    assert average[0].weight.item() == pytest.approx(0.1)
    assert average[1].num_batches_tracked == 7


def test_statistics_are_settled_as_the_mean_over_the_batches_and_nothing_else_changes() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    batches = [(torch.full((2, 1, 4, 4), float(value)),) for value in (1, 2, 6)]
    settle_statistics(network, batches)
    assert network[0].running_mean == pytest.approx(3)
    assert network[0].momentum == 0.1
    assert network.training
    assert network[0].training
