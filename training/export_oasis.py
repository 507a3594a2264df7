"""From a run of `oasis` to a filter that is served, its noise pinned: one appearance for every stream and frame.

Batch norm's statistics belong to weights that were being trained, not to their average, and are taken anew over layouts
that were learnt from, as published.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from kernels.portrait_layout import PORTRAIT_CLASSES
from models.filter_catalogue import FILTERS
from models.filter_export import FilterJob, export_filter, export_report
from models.filter_graphs import AsTrained, FilterSamples
from models.filter_manifest import FilterManifest
from models.oasis import OasisGenerator
from training.config import ConfigError
from training.data.layout_pairs import LayoutSet
from training.filter_licence import licence_of
from training.layout_network import LayoutGenerator
from training.oasis import OasisTraining, batches_of, layout_of
from training.oasis_losses import settle_statistics

CALIBRATION_SAMPLES, GATE_SAMPLES, FEWEST = 48, 24, 8


def export_oasis(
    network: LayoutGenerator,
    config: OasisTraining,
    pairs: LayoutSet,
    name: str,
    say: Callable[[str], None],
    *,
    filters: Path = FILTERS,
    precisions: tuple[str, ...] = ("fp32", "int8"),
) -> FilterManifest:
    """Export a trained generator.

    Args:
        network: From `oasis_of_run`; its statistics change.
        config: Of the run.
        pairs: What the run learnt from and held back.
        name: Of the filter.
        say: Takes one line of progress.
        filters: Folder of filters.
        precisions: Which engines to make.

    Raises:
        ConfigError: Nobody was held back, or the generator is not one of OASIS that hears noise.
        ExportError: An engine differs from torch.
    """
    if not isinstance(network, OasisGenerator) or not network.config.noise:
        raise ConfigError("only OASIS's generator, with noise, becomes a filter; its rivals are there to be measured")
    learnt, held = pairs.split(config.layouts.held_every)
    if not held.pairs:
        raise ConfigError("the gate looks at layouts that were held back; set [layouts] held_every in the run's config")
    settle_statistics(network, batches_of(learnt, config))
    portrait = config.layouts.class_names() == PORTRAIT_CLASSES
    around = "portrait" if portrait else "face"
    job = FilterJob(
        folder=filters / name,
        title=config.served.title or f"{name}: a picture from a layout of {config.layouts.classes} classes",
        size_px=(config.layouts.crop_px, config.layouts.crop_px),
        region=around if config.layouts.of_faces else "frame",
        source="portrait" if portrait else "layout",
        classes=config.layouts.class_names(),
        precisions=precisions,
        licence=licence_of(config.served.weights, config.served.data),
        how=AsTrained(seed=config.run.seed + config.served.appearance),
    )
    samples = (_samples(learnt, CALIBRATION_SAMPLES, config), _samples(held, GATE_SAMPLES, config))
    manifest = export_filter(network, job, calibration=samples[0], gate=samples[1])
    for line in export_report(manifest):
        say(line)
    return manifest


def _samples(pairs: LayoutSet, count: int, config: OasisTraining) -> FilterSamples:
    """Evenly spaced layouts, of few pairs some more than once."""
    wanted = max(min(count, len(pairs.pairs)), FEWEST)
    chosen = np.linspace(0, len(pairs.pairs) - 1, wanted).astype(int)
    return FilterSamples(np.concatenate([layout_of(pairs, i, config) for i in chosen]))
