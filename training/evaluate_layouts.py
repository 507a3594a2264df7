"""How good is a generator that draws from layouts? Layouts never trained on, read back by a segmenter of our own.

One command: `evaluation.json`, a table and a contact sheet. Real photos, read by the same segmenter, are the ceiling;
another picture's layout, held against what was drawn, is the chance. All pictures are drawn with one noise, the run's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from training.config import ConfigError
from training.data.layout_pairs import Ids, LayoutConfig, LayoutPair, LayoutSet, held_layout, one_hot
from training.data.pair_batches import as_levels
from training.data.pair_makers import Rgb
from training.efficientnet_lite import WEIGHTS, EfficientNetLite0
from training.evaluate_filter import FLOOR, RESIZED
from training.figure_table import figure_table
from training.filter_glance import write_sheet
from training.intervals import RESAMPLES, SEED, Interval
from training.layout_network import LayoutGenerator
from training.layout_scores import MEAN_IOU, Counts, class_intervals, confusion, pixel_accuracy
from training.oasis import OasisTraining, in_colours
from training.perceptual import FEWEST, KD, floor, kernel_interval, paired_terms, pooled_features
from training.segmenter import METRIC, Segmenter, SegmenterTraining, found_layout

DRAWN, REAL, CHANCE = "filter", "real photos", "another's layout"
ACCURACY = "pixel accuracy, own segmenter"
SHOWN = 8
Report = dict[str, object]


def evaluate_layouts(
    generator: LayoutGenerator,
    config: OasisTraining,
    held: LayoutSet,
    out: Path,
    say: Callable[[str], None],
    *,
    name: str,
    segmenter: tuple[Segmenter, SegmenterTraining] | None = None,
    eye: EfficientNetLite0 | None = None,
) -> Report:
    """Measure a generator and write evaluation.json, evaluation.md and evaluation.jpg.

    Args:
        generator: From `oasis_of_run`, its statistics settled.
        config: Of the run.
        held: Pairs that it never saw.
        out: Folder to write to.
        say: Takes one line of progress.
        name: For the report.
        segmenter: From `segmenter_of_run`; without one no layout is read back.
        eye: For KD-EffLite0.

    Raises:
        ConfigError: The segmenter knows other classes.
    """
    pairs = [held_layout(each, config.layouts) for each in held.pairs]
    drawn = drawn_photos(generator, config, pairs)
    figures: dict[str, dict[str, Interval]] = {DRAWN: {}}
    if segmenter is not None:
        check_classes(segmenter[1].layouts, config.layouts)
        for method, counts in counted(segmenter[0], config.layouts, pairs, {DRAWN: drawn}).items():
            figures[method] = scores(counts, config.layouts)
    if eye is not None and len(pairs) >= FEWEST:
        real = pooled_features(eye, [each.photo for each in pairs])
        figures[DRAWN][KD] = kernel_interval(paired_terms(pooled_features(eye, drawn), real))
        figures[FLOOR] = {KD: floor(real)}
    missing = [metric for metric in (METRIC, KD) if metric not in figures[DRAWN]]
    report: Report = {
        "measured": name,
        "pictures": len(pairs),
        "picture_px": 2 * [config.layouts.crop_px],
        "left_out": [f"{each.name} {each.reason}" for each in held.left_out],
        "noise": f"one for all pictures, seed {config.run.seed}",
        "intervals": f"95 %, {RESAMPLES} resamples of pictures, seed {SEED}",
        "figures": figures,
        "extractor": {"file": WEIGHTS.name, "pictures_resized": RESIZED} if eye is not None else None,
        "not_measured": [*missing, "mIoU of a published segmenter", "FID"],
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    lines = [f"# {name}, {len(pairs)} layouts", "", *figure_table(figures), "", f"In brackets: {report['intervals']}."]
    (out / "evaluation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_sheet(out / "evaluation.jpg", pairs, drawn, segmenter, config.layouts)
    values = [(method, key, row[key].value) for method, row in figures.items() for key in (METRIC, KD) if key in row]
    say("; ".join(f"{method}: {key} {value:.4f}" for method, key, value in values))
    return report


def score_segmenter(
    segmenter: tuple[Segmenter, SegmenterTraining], test: LayoutSet, out: Path, say: Callable[[str], None]
) -> dict[str, Interval]:
    """Measure a segmenter on real photos that it never saw: the ceiling. Writes scores.json."""
    layouts = segmenter[1].layouts
    pairs = [held_layout(each, layouts) for each in test.pairs]
    read = [found_layout(segmenter[0], each.photo, layouts.dont_care) for each in pairs]
    found = scores(_confusions(pairs, read, layouts), layouts)
    report = {"pictures": len(pairs), "picture_px": 2 * [layouts.crop_px], "figures": found}
    (out / "scores.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    say(f"{METRIC}, real photos: {found[METRIC].value:.4f} ({len(pairs)} pictures)")
    return found


def check_classes(found: LayoutConfig, wanted: LayoutConfig) -> None:
    """Hold a segmenter's classes against a generator's.

    Raises:
        ConfigError: They differ.
    """
    for key in ("classes", "dont_care", "crop_px"):
        if getattr(found, key) != getattr(wanted, key):
            raise ConfigError(
                f"the segmenter has [layouts] {key} = {getattr(found, key)}, the generator {getattr(wanted, key)}; "
                "train both with the same [layouts]"
            )


@torch.no_grad()
def drawn_photos(generator: LayoutGenerator, config: OasisTraining, pairs: Sequence[LayoutPair]) -> list[Rgb]:
    """What a generator draws from each layout, with the run's own noise."""
    source = torch.Generator().manual_seed(config.run.seed)
    z = torch.randn(1, config.network.noise, generator=source)
    layouts = (torch.from_numpy(one_hot(each.ids, config.layouts.classes))[None] for each in pairs)
    return [as_levels(generator.eval()(layout, z)[0].numpy()) for layout in layouts]


def scores(counts: Counts, layouts: LayoutConfig) -> dict[str, Interval]:
    """The mean over classes, the share of pixels, and each class."""
    found = class_intervals(counts, layouts.class_names())
    return {METRIC: found.pop(MEAN_IOU), ACCURACY: pixel_accuracy(counts), **found}


def counted(
    segmenter: Segmenter, layouts: LayoutConfig, pairs: Sequence[LayoutPair], drawn: Mapping[str, Sequence[Rgb]]
) -> dict[str, Counts]:
    """What the segmenter takes each method's pictures for, real photos and, for chance, other layouts' photos.

    Args:
        segmenter: From `segmenter_of_run`.
        layouts: Of what was drawn.
        pairs: Held-back ones.
        drawn: A picture of each of their layouts, by method.

    Returns:
        [n, classes, classes] of each.
    """
    read = {
        method: [found_layout(segmenter, each, layouts.dont_care) for each in pictures]
        for method, pictures in (*drawn.items(), (REAL, [each.photo for each in pairs]))
    }
    # Half way round: neighbours in a film of a street have nearly the same layout.
    half = len(pairs) // 2
    read[CHANCE] = [*read[REAL][half:], *read[REAL][:half]]
    return {method: _confusions(pairs, found, layouts) for method, found in read.items()}


def _confusions(pairs: Sequence[LayoutPair], read: Sequence[Ids], layouts: LayoutConfig) -> Counts:
    counted = [confusion(a.ids, b, layouts.classes, layouts.dont_care) for a, b in zip(pairs, read, strict=True)]
    return np.stack(counted)


def _write_sheet(
    path: Path,
    pairs: Sequence[LayoutPair],
    drawn: Sequence[Rgb],
    segmenter: tuple[Segmenter, SegmenterTraining] | None,
    layouts: LayoutConfig,
) -> None:
    """Layout, what was drawn, what the segmenter reads from that, the photo."""
    rows = []
    for i in np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).astype(int):
        read = [in_colours(found_layout(segmenter[0], drawn[i], layouts.dont_care))] if segmenter else []
        rows.append([in_colours(pairs[i].ids), drawn[i], *read, pairs[i].photo])
    write_sheet(path, rows)
