"""A run learns what keeps a filter steady, around a network that stays as it is; another network can have it, too."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.engine import EngineError
from models.filter_networks import save_filter_weights
from models.plane_filter import PlaneFilter, PlaneFilterConfig
from models.steady_filter import SteadyFilter
from models.tiny_filter import TinyFilter, TinyFilterConfig
from tests.training.pictures import write_photos
from training.checkpoint import load_checkpoint
from training.config import ConfigError
from training.data.pair_batches import PairDataConfig
from training.export_filter import STEADYING, made_steady
from training.filter_network import FilterNetworkConfig
from training.pix2pix import (
    FilterLossConfig,
    FilterRunConfig,
    Pix2PixConfig,
    filter_of_run,
    pairs_of,
    train_filter,
)

pytestmark = pytest.mark.unit

PLAIN = Pix2PixConfig(
    FilterNetworkConfig(generator="planes", middle=4, coarse=4, receptive_px=1, judge_channels=4),
    PairDataConfig(maker="enhance", load_px=48, square=False, crop_px=32, held_every=3),
    FilterLossConfig(judge=0.0, l1=1.0),
    FilterRunConfig(steps=1, threads=1),
)
STEADY = replace(
    PLAIN,
    network=replace(PLAIN.network, steady_channels=4),
    pairs=replace(PLAIN.pairs, frames=3, parts=0.5),
    loss=replace(PLAIN.loss, flicker=1.0),
    run=replace(PLAIN.run, steps=3, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network, and one of what keeps it steady."""
    folder = tmp_path_factory.mktemp("steady")
    pairs, maker = pairs_of(PLAIN.pairs, None, [write_photos(folder / "photos", 6)])
    start = train_filter(PLAIN, pairs, maker, folder / "plain", say=lambda _: None)
    train_filter(STEADY, pairs, maker, folder / "run", start=start, say=lambda _: None)
    return folder


def test_the_network_stays_as_it_is_and_what_is_around_it_learns(run: Path) -> None:
    before = load_checkpoint(run / "plain" / "checkpoint.pt")["averaged"]
    after = load_checkpoint(run / "run" / "checkpoint.pt")
    for part in ("generator", "averaged"):
        assert all(torch.equal(after[part][f"network.{name}"], each) for name, each in before.items())
    assert after["generator"]["steadying.sharpness.weight"].abs().max() > 0


@pytest.mark.parametrize(
    "network", [PlaneFilter(PlaneFilterConfig(middle=4, coarse=4)), TinyFilter(TinyFilterConfig("a")), "steady already"]
)
def test_what_was_learnt_is_laid_around_another_network(
    network: PlaneFilter | TinyFilter | str, run: Path, tmp_path: Path
) -> None:
    inner = TinyFilter(TinyFilterConfig("a")) if isinstance(network, str) else network
    weights = tmp_path / "filter.safetensors"
    save_filter_weights(weights, SteadyFilter(inner) if isinstance(network, str) else inner, storage="float32")
    first = made_steady(weights, run / "run" / "checkpoint.pt", None, tmp_path / "out")
    again = made_steady(weights, None, tmp_path / "out" / STEADYING, tmp_path / "out")
    learnt = filter_of_run(run / "run" / "checkpoint.pt")[0].state_dict()
    for made in (first, again):
        assert all(torch.equal(each, inner.state_dict()[name]) for name, each in made.network.state_dict().items())
        assert all(torch.equal(each, learnt[f"steadying.{name}"]) for name, each in made.steadying.state_dict().items())


def test_what_holds_nothing_steady_is_refused(run: Path, tmp_path: Path) -> None:
    weights, plain = tmp_path / "filter.safetensors", run / "plain" / "checkpoint.pt"
    save_filter_weights(weights, TinyFilter(TinyFilterConfig("a")))
    with pytest.raises(ConfigError, match="without \\[network\\] steady_channels"):
        made_steady(weights, plain, None, tmp_path)
    with pytest.raises(ConfigError, match="pass either"):
        made_steady(weights, None, None, tmp_path)
    with pytest.raises(EngineError, match="nothing that makes a filter steady"):
        made_steady(weights, None, weights, tmp_path)
    save_filter_weights(weights, TinyFilter(TinyFilterConfig("a", memory="previous", state_channels=4)))
    with pytest.raises(ConfigError, match="no memory of its own"):
        made_steady(weights, run / "run" / "checkpoint.pt", None, tmp_path)
