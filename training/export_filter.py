"""From a run of `pix2pix` to a filter that is served: gated engines, weights, manifest and a preview.

int8 takes its ranges from pictures that the network learnt from, spoilt as in training, at the size that is served;
the gate looks at persons that were held back. Batch norm draws as it learnt: with a batch of one from the picture's own
statistics, as published, otherwise from statistics that are taken anew over whole pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from models.filter_catalogue import FILTERS
from models.filter_export import FilterJob, export_filter, export_report
from models.filter_graphs import AsTrained, FilterSamples, shown_to
from models.filter_manifest import FilterManifest
from models.filter_networks import load_filter_weights
from models.steady_filter import SteadyFilter, save_steadying, steadied
from training.config import ConfigError
from training.data.pair_batches import as_units
from training.data.pair_makers import PAIR_MAKERS, PairMaker, Rgb
from training.data.photo_pairs import PairSet
from training.filter_glance import held_pair
from training.filter_licence import licence_of
from training.filter_network import Filter, has_memory
from training.filter_subject import Units, shipped_subject
from training.oasis_losses import settle_statistics
from training.pix2pix import Pix2PixConfig, ServedConfig, filter_of_run

CALIBRATION_SAMPLES, GATE_SAMPLES, FEWEST = 48, 24, 8
STATISTICS_BATCHES = 50
PREVIEW = "preview.jpg"
STEADYING = "steadying.safetensors"
RUN_OF_A_STILL = 4
"""Pictures of one still, each with its own grain, by which a network with memory is calibrated and gated."""
PREVIEW_PERSONS, PREVIEW_SIDE_PX = 4, 192


def export_run(
    network: Filter,
    config: Pix2PixConfig,
    pairs: PairSet,
    maker: PairMaker,
    name: str,
    say: Callable[[str], None],
    *,
    filters: Path = FILTERS,
    precisions: tuple[str, ...] = ("fp32", "int8"),
) -> FilterManifest:
    """Export a trained network and draw a preview with what was exported.

    Args:
        network: From `filter_of_run`.
        config: Of the run; its `served` says how.
        pairs: What the run learnt from and held back.
        maker: Of the run.
        name: Of the filter.
        say: Takes one line of progress.
        filters: Folder of filters.
        precisions: Which engines to make.

    Raises:
        ConfigError: Nobody was held back.
        ExportError: An engine differs from torch.
    """
    learnt, held = pairs.split(config.pairs.held_every)
    if not held.pairs:
        raise ConfigError("the gate looks at persons that were held back; set [pairs] held_every in the run's config")
    served = config.served
    job = FilterJob(
        folder=filters / name,
        title=served.title or _about(config.pairs.maker, name),
        size_px=(served.height_px, served.width_px),
        region=served.region,
        source=served.source,
        precisions=precisions,
        licence=licence_of(served.weights, served.data),
        how=how_trained(network, config, learnt, maker),
    )
    run = RUN_OF_A_STILL if has_memory(network) else 1
    calibration, gate = (
        FilterSamples(shown_to(network, _samples(each, maker, config, count, run)), run)
        for each, count in ((learnt, CALIBRATION_SAMPLES), (held, GATE_SAMPLES))
    )
    manifest = export_filter(network, job, calibration=calibration, gate=gate)
    for line in export_report(manifest):
        say(line)
    write_preview(filters / name / PREVIEW, name, held, maker, config, filters)
    return manifest


def made_steady(
    weights: Path, checkpoint: Path | None, steadying: Path | None, folder: Path, *, caution: float | None = None
) -> SteadyFilter:
    """A filter's network with what a run learnt around it; what was learnt is written to the folder by itself, too.

    Args:
        weights: Of the filter; if it is steady already, of what is inside.
        checkpoint: Of a run with `[network] steady_channels`.
        steadying: What this wrote for another network, instead.
        folder: Of the filter that will be.
        caution: See `SteadyConfig`; None for that of what was learnt.

    Raises:
        ConfigError: Neither or both were given, or what was given does not fit.
        EngineError: A file is missing or damaged.
    """
    if (checkpoint is None) == (steadying is None):
        raise ConfigError("pass either --checkpoint STEADY_RUN/checkpoint.pt or --steadying FILE")
    network = load_filter_weights(weights)
    network = network.network if isinstance(network, SteadyFilter) else network
    try:
        if checkpoint is not None:
            steady = _learnt(network, checkpoint)
        else:
            assert steadying is not None
            steady = steadied(network, steadying)
        config = steady.steadying.config
        steady.steadying.config = replace(config, caution=config.caution if caution is None else caution)
    except ValueError as error:
        raise ConfigError(f"{weights}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    save_steadying(folder / STEADYING, steady.steadying)
    return steady


def _learnt(network: nn.Module, checkpoint: Path) -> SteadyFilter:
    learnt = filter_of_run(checkpoint)[0]
    if not isinstance(learnt, SteadyFilter):
        raise ConfigError(f"{checkpoint} is of a run without [network] steady_channels")
    steady = SteadyFilter(network, learnt.steadying.config)
    steady.steadying.load_state_dict(learnt.steadying.state_dict())
    return steady.eval()


def how_trained(network: Filter, config: Pix2PixConfig, learnt: PairSet, maker: PairMaker) -> AsTrained:
    """Where batch norm's statistics come from; those of training lag behind and are taken anew."""
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        return AsTrained()
    if config.run.batch == 1:
        return AsTrained(statistics="picture")
    chosen = _evenly(len(learnt.pairs), STATISTICS_BATCHES)
    pictures = [held_pair(learnt.pairs[i], maker, config.pairs, i).source for i in chosen]
    settle_statistics(network, [(torch.from_numpy(as_units(each))[None],) for each in pictures])
    return AsTrained()


def _about(maker: str, name: str) -> str:
    return PAIR_MAKERS[maker].about if maker in PAIR_MAKERS else name


def _samples(pairs: PairSet, maker: PairMaker, config: Pix2PixConfig, count: int, run: int) -> Units:
    """Spoilt pictures at the size that is served, each as often as a run is long; few are spoilt in several ways."""
    fewest = FEWEST // run
    chosen = [i % len(pairs.pairs) for i in range(fewest)] if len(pairs.pairs) < fewest else None
    indices = chosen or _evenly(len(pairs.pairs), count // run)
    sources = [
        held_pair(pairs.pairs[i], maker, config.pairs, at, grain).source
        for at, i in enumerate(indices)
        for grain in range(run)
    ]
    return np.concatenate([_at_size(as_units(each), config.served) for each in sources])


def _evenly(length: int, count: int) -> list[int]:
    return [int(each) for each in np.linspace(0, length - 1, min(count, length))]


def _at_size(picture: Units, served: ServedConfig) -> Units:
    """The middle of a picture, or the picture with its surroundings mirrored: float32 [1, 3, H, W]."""
    for axis, side in ((1, served.height_px), (2, served.width_px)):
        spare = picture.shape[axis] - side
        if spare > 0:
            picture = np.take(picture, range(spare // 2, spare // 2 + side), axis)
        elif spare < 0:
            around = [(0, 0)] * 3
            around[axis] = (-spare // 2, -spare - (-spare // 2))
            picture = np.pad(picture, around, mode="symmetric")
    return picture[None]


def write_preview(path: Path, name: str, held: PairSet, maker: PairMaker, config: Pix2PixConfig, filters: Path) -> None:
    """Some held-back persons: what the filter is shown above what it draws, as it is served."""
    subject = shipped_subject(name, None, filters)
    columns = []
    for i in _evenly(len(held.pairs), PREVIEW_PERSONS):
        source = held_pair(held.pairs[i], maker, config.pairs, i + 1).source
        source = source[: config.served.height_px // 32 * 32, : config.served.width_px // 32 * 32]
        drawn = subject.pictures([np.ascontiguousarray(source)])[0]
        columns.append(np.vstack([_small(source), _small(drawn)]))
    sheet = np.hstack(columns)
    caption = np.full((22, sheet.shape[1], 3), 255, np.uint8)
    text = f"above: shown to the filter; below: drawn by '{name}' (synthetic)"
    cv2.putText(caption, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    whole = np.vstack([sheet, caption])
    cv2.imwrite(str(path), whole[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def _small(picture: Rgb) -> Rgb:
    side = min(picture.shape[:2])
    middle = picture[:side, (picture.shape[1] - side) // 2 :][:, :side]
    size = (PREVIEW_SIDE_PX, PREVIEW_SIDE_PX)
    return np.asarray(cv2.resize(middle, size, interpolation=cv2.INTER_AREA), np.uint8)
