"""Generators that draw from layouts, trained alike: the same pairs, seed and processor time, and one segmenter for all.

The segmenter was trained on real photos alone and is nobody's judge. A recipe's learning rates go their whole course
within the budget. Differences are between the same test layouts, and so are the resamples behind their intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.cost import multiply_adds
from training.budget import Budget, Plan, trained_within, tried_step_s
from training.checkpoint import load_checkpoint
from training.config import ConfigError
from training.data.layout_pairs import LayoutConfig, LayoutPair, LayoutSampler, LayoutSet, held_layout
from training.data.pair_makers import Rgb
from training.efficientnet_lite import WEIGHTS, EfficientNetLite0
from training.evaluate_filter import FLOOR, RESIZED
from training.evaluate_layouts import ACCURACY, SHOWN, check_classes, counted, drawn_photos
from training.figure_table import figure_table
from training.filter_glance import write_sheet
from training.intervals import RESAMPLES, SEED, Interval
from training.layout_judges import SEGMENTS
from training.layout_network import millions
from training.layout_scores import MEAN_IOU, Counts, measured_accuracy, measured_classes
from training.measured import Floats, Measured
from training.oasis import (
    OasisTraining,
    batches_of,
    in_colours,
    new_oasis_trainer,
    oasis_of_run,
    oasis_step,
    rates_of,
    steps_of,
    train_oasis,
)
from training.oasis_losses import settle_statistics
from training.perceptual import FEWEST, KD, floor, kernel_distance, paired_terms, pooled_features, resamples
from training.segmenter import METRIC, Segmenter, SegmenterTraining

Report = dict[str, object]
OVER_ALL = (METRIC, ACCURACY, KD)
"""Figures that are not of one class."""


def compare_layouts(
    recipes: Mapping[str, OasisTraining],
    pairs: LayoutSet,
    test: LayoutSet,
    budget: Budget,
    segmenter: tuple[Segmenter, SegmenterTraining],
    eye: EfficientNetLite0,
    out: Path,
    say: Callable[[str], None],
) -> Report:
    """Train every recipe, measure all, and write comparison.json, comparison.md and comparison.jpg.

    Args:
        recipes: By name; the first one is what the table holds the others against, the JSON all.
        pairs: What to learn from.
        test: What nobody sees while training.
        budget: The same for every recipe.
        segmenter: From `segmenter_of_run`.
        eye: For KD-EffLite0.
        out: Gets a folder for each recipe as well.
        say: Takes one line of progress.

    Raises:
        ConfigError: Fewer than two recipes, too few test pairs, a recipe whose classes or size are not the
            segmenter's, or a folder that holds something else.
    """
    if len(recipes) < 2 or len(test.pairs) < FEWEST:
        raise ConfigError(f"pass two recipes or more and {FEWEST} test pairs or more")
    layouts = segmenter[1].layouts
    for config in recipes.values():
        config.check()
        check_classes(layouts, config.layouts)
    checkpoints = {name: trained(config, pairs, budget, out / name, say) for name, config in recipes.items()}
    shown = [held_layout(each, layouts) for each in test.pairs]
    drawn = {name: _drawn(checkpoint, pairs, shown) for name, checkpoint in checkpoints.items()}
    confusions = counted(segmenter[0], layouts, shown, drawn)
    real = pooled_features(eye, [each.photo for each in shown])
    distances = {name: paired_terms(pooled_features(eye, pictures), real) for name, pictures in drawn.items()}
    measured = {name: _measured(each, layouts, distances.get(name)) for name, each in confusions.items()}
    report: Report = {
        "recipes": {
            name: {**asdict(config), **_spent(checkpoints[name], config, pairs)} for name, config in recipes.items()
        },
        "budget": asdict(budget),
        "pairs": {"learnt": len(pairs.pairs), "test": len(shown), "picture_px": list(shown[0].ids.shape)},
        "segmenter": {**asdict(segmenter[1]), "millions": millions(segmenter[0])},
        "noise": "one for all pictures, that of the recipe's seed",
        "intervals": f"95 %, {RESAMPLES} resamples of test layouts, the same for all, seed {SEED}",
        "extractor": {"file": WEIGHTS.name, "pictures_resized": RESIZED},
        "figures": {name: each.intervals() for name, each in measured.items()},
        "floor": {FLOOR: {KD: floor(real)}},
        "more_than": {
            base: {name: measured[name].less(measured[base]) for name in recipes if name != base} for base in recipes
        },
        "not_measured": ["mIoU of a published segmenter", "FID"],
    }
    _write(out, report, layouts.class_names(), shown, drawn)
    best = {name: each.values[METRIC] for name, each in measured.items()}
    say(f"{METRIC}: " + ", ".join(f"{name} {value:.4f}" for name, value in best.items()))
    return report


def trained(config: OasisTraining, pairs: LayoutSet, budget: Budget, run: Path, say: Callable[[str], None]) -> Path:
    """See `training.budget.trained_within`; the config's steps are those of the budget."""

    def train(steps: int) -> Path:
        whole = within(config, steps, len(_learnt(config, pairs).pairs))
        return train_oasis(whole, pairs, run, resume=True, say=say)

    def tell(plan: Plan) -> None:
        say(f"{run.name}: {plan.steps} steps of {config.run.batch}, {plan.step_s} s each")

    return trained_within(budget, run, lambda: _step_s(config, pairs), train, tell)


def within(config: OasisTraining, steps: int, pairs: int) -> OasisTraining:
    """A recipe of so many steps, whose rates begin to fall at the same part of them."""
    falls_from = config.run.falls_from
    if falls_from:
        falls_from = max(round(falls_from * steps / steps_of(config.run, pairs)), 1)
    return replace(config, run=replace(config.run, steps=steps, falls_from=falls_from))


def _learnt(config: OasisTraining, pairs: LayoutSet) -> LayoutSet:
    return pairs.split(config.layouts.held_every)[0]


def _step_s(config: OasisTraining, pairs: LayoutSet) -> float:
    """Of a step with all of its losses."""
    trainer = new_oasis_trainer(config)
    trainer.step = max(config.loss.judge_from, config.loss.heard_from)
    sampler = LayoutSampler(_learnt(config, pairs), config.layouts, config.run.seed)
    rates = rates_of(0, 1, config.run)
    return tried_step_s(
        lambda step: oasis_step(trainer, sampler.batch(step, config.run.batch), rates), config.run.threads
    )


def _drawn(checkpoint: Path, pairs: LayoutSet, shown: Sequence[LayoutPair]) -> list[Rgb]:
    generator, config, _ = oasis_of_run(checkpoint)
    settle_statistics(generator, batches_of(_learnt(config, pairs), config))
    return drawn_photos(generator, config, shown)


def _measured(confusions: Counts, layouts: LayoutConfig, terms: Floats | None) -> Measured:
    classes = measured_classes(confusions, layouts.class_names())
    values, again = dict(classes.values), dict(classes.again)
    accuracy, accuracies = measured_accuracy(confusions)
    first = {METRIC: values.pop(MEAN_IOU), ACCURACY: accuracy}
    firsts = {METRIC: again.pop(MEAN_IOU), ACCURACY: accuracies}
    if terms is not None:
        first[KD], firsts[KD] = float(kernel_distance(terms)), kernel_distance(terms, resamples(len(terms)))
    return Measured(first | values, firsts | again)


def _spent(checkpoint: Path, config: OasisTraining, pairs: LayoutSet) -> Report:
    state, trainer = load_checkpoint(checkpoint), new_oasis_trainer(config)
    side = config.layouts.crop_px
    layout, picture = torch.zeros(1, config.layouts.classes, side, side), torch.zeros(1, 3, side, side)
    judged = (layout, picture) if config.loss.gan != SEGMENTS else (picture,)
    return {
        "steps": state["step"],
        "epochs": round(state["step"] * config.run.batch / len(_learnt(config, pairs).pairs), 2),
        "processor_s": round(state["processor_s"], 1),
        "generator_size": _size(trainer.generator, layout, torch.zeros(1, config.network.noise)),
        "judge_size": _size(trainer.judge, *judged),
    }


def _size(network: nn.Module, *inputs: Tensor) -> dict[str, float]:
    return {"millions": millions(network), "gmac": round(multiply_adds(network.eval(), *inputs) / 1e9, 3)}


def _columns(rows: Mapping[str, Mapping[str, Interval]], names: Collection[str]) -> dict[str, dict[str, Interval]]:
    """Of each row the figures of these names."""
    return {row: {name: value for name, value in each.items() if name in names} for row, each in rows.items()}


def _write(
    out: Path,
    report: Report,
    class_names: Collection[str],
    shown: Sequence[LayoutPair],
    drawn: Mapping[str, Sequence[Rgb]],
) -> None:
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    figures, lowest, more = report["figures"], report["floor"], report["more_than"]
    assert isinstance(figures, dict)
    assert isinstance(lowest, dict)
    assert isinstance(more, dict)
    base = next(iter(more))
    rows = [
        *figure_table(_columns(figures | lowest, OVER_ALL)),
        *["", f"More than {base}:", "", *figure_table(_columns(more[base], OVER_ALL))],
        *["", "IoU of each class:", "", *figure_table(_columns(figures, class_names))],
        *["", f"In brackets: {report['intervals']}."],
    ]
    (out / "comparison.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    chosen = np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)
    sheet = [[in_colours(shown[i].ids), *(each[i] for each in drawn.values()), shown[i].photo] for i in chosen]
    write_sheet(out / "comparison.jpg", sheet)
