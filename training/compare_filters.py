"""Filters that were trained alike: each recipe gets the same pairs, seed and budget, and all draw the same test pairs.

A budget is a number of steps, or minutes of processor time; a recipe's learning rate goes its whole course within it.
How many steps minutes are is found by trying a few, and kept, so that an interrupted comparison goes on bit for bit.
Differences are between the same test pairs, and so are the resamples behind their intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from training.budget import Budget, Plan, trained_within, tried_step_s
from training.checkpoint import load_checkpoint
from training.config import ConfigError
from training.data.pair_batches import PairSampler
from training.data.pair_makers import Pair, Rgb
from training.data.photo_pairs import PairSet
from training.efficientnet_lite import WEIGHTS, EfficientNetLite0
from training.evaluate_filter import FLOOR, INPUT, RESIZED
from training.figure_table import figure_table
from training.filter_glance import held_pair, write_sheet
from training.filter_subject import run_subject
from training.intervals import RESAMPLES, SEED
from training.measured import Floats, Measured
from training.perceptual import (
    FEWEST,
    KD,
    PD,
    floor,
    kernel_distance,
    paired_terms,
    picture_distances,
    pooled_features,
    resamples,
)
from training.picture_figures import luma_ssim, psnr_db
from training.pix2pix import FROM_A_FOLDER, Pix2PixConfig, filter_step, new_filter_trainer, train_filter

Report = dict[str, object]
SHOWN = 8


def compare_filters(
    recipes: Mapping[str, Pix2PixConfig],
    pairs: PairSet,
    test: PairSet,
    budget: Budget,
    eye: EfficientNetLite0,
    out: Path,
    say: Callable[[str], None],
) -> Report:
    """Train every recipe, measure all, and write comparison.json, comparison.md and comparison.jpg.

    Args:
        recipes: By name; the first one is what the others are held against.
        pairs: What to learn from.
        test: What nobody sees while training.
        budget: The same for every recipe.
        eye: For KD-EffLite0 and PD-EffLite0.
        out: Gets a folder for each recipe as well.
        say: Takes one line of progress.

    Raises:
        ConfigError: Fewer than two recipes, too few test pairs, recipes that are measured at different sizes, or a
            folder that holds something else.
    """
    if len(recipes) < 2 or len(test.pairs) < FEWEST:
        raise ConfigError(f"pass two recipes or more and {FEWEST} test pairs or more")
    sizes = {(each.pairs.crop_px, each.pairs.square) for each in recipes.values()}
    if len(sizes) > 1:
        raise ConfigError(f"the recipes' [pairs] crop_px and square differ ({sizes}), so their pictures would as well")
    checkpoints = {name: trained(config, pairs, budget, out / name, say) for name, config in recipes.items()}
    shown = [held_pair(each, FROM_A_FOLDER, _first(recipes).pairs, i) for i, each in enumerate(test.pairs)]
    drawn = {INPUT: [each.source for each in shown]}
    drawn |= {name: _drawn(checkpoint, shown) for name, checkpoint in checkpoints.items()}
    targets = [each.target for each in shown]
    real = pooled_features(eye, targets)
    measured = {name: _measured(eye, pictures, targets, real) for name, pictures in drawn.items()}
    base = next(iter(recipes))
    report: Report = {
        "recipes": {
            name: {**asdict(config), **_spent(checkpoints[name], config, pairs)} for name, config in recipes.items()
        },
        "budget": asdict(budget),
        "pairs": {"learnt": len(pairs.pairs), "test": len(shown), "picture_px": list(shown[0].source.shape[:2])},
        "intervals": f"95 %, {RESAMPLES} resamples of test pairs, the same for all, seed {SEED}",
        "extractor": {"file": WEIGHTS.name, "pictures_resized": RESIZED},
        "figures": {name: each.intervals() for name, each in measured.items()},
        "floor": {FLOOR: {KD: floor(real)}},
        f"more_than_{base}": {
            name: each.less(measured[base]) for name, each in measured.items() if name not in (base, INPUT)
        },
        "not_measured": ["FID", "LPIPS"],
    }
    _write(out, report, base, shown, drawn)
    return report


def _first(recipes: Mapping[str, Pix2PixConfig]) -> Pix2PixConfig:
    return next(iter(recipes.values()))


def _drawn(checkpoint: Path, shown: Sequence[Pair]) -> list[Rgb]:
    subject, _ = run_subject(checkpoint)
    return [subject.pictures([each.source])[0] for each in shown]


def _measured(eye: EfficientNetLite0, drawn: Sequence[Rgb], targets: Sequence[Rgb], real: Floats) -> Measured:
    weights = resamples(len(targets))
    singles = {
        "ssim": np.array([luma_ssim(a, b) for a, b in zip(drawn, targets, strict=True)]),
        "psnr_db": np.array([psnr_db(a, b) for a, b in zip(drawn, targets, strict=True)]),
        PD: picture_distances(eye, drawn, targets),
    }
    terms = paired_terms(pooled_features(eye, drawn), real)
    values = {key: float(each.mean()) for key, each in singles.items()} | {KD: float(kernel_distance(terms))}
    again = {key: weights @ each / len(each) for key, each in singles.items()}
    return Measured(values, again | {KD: kernel_distance(terms, weights)})


def _spent(checkpoint: Path, config: Pix2PixConfig, pairs: PairSet) -> Report:
    state = load_checkpoint(checkpoint)
    epochs = round(epochs_of(config, state["step"], pairs), 2)
    return {"steps": state["step"], "epochs": epochs, "processor_s": round(state["processor_s"], 1)}


def _write(out: Path, report: Report, base: str, shown: Sequence[Pair], drawn: Mapping[str, Sequence[Rgb]]) -> None:
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    figures, lowest, more = report["figures"], report["floor"], report[f"more_than_{base}"]
    assert isinstance(figures, dict)
    assert isinstance(lowest, dict)
    assert isinstance(more, dict)
    rows = [*figure_table(figures | lowest), "", f"More than {base}:", "", *figure_table(more)]
    (out / "comparison.md").write_text(
        "\n".join([*rows, "", f"In brackets: {report['intervals']}.", ""]), encoding="utf-8"
    )
    chosen = np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)
    write_sheet(out / "comparison.jpg", [[*(each[i] for each in drawn.values()), shown[i].target] for i in chosen])


def trained(config: Pix2PixConfig, pairs: PairSet, budget: Budget, run: Path, say: Callable[[str], None]) -> Path:
    """See `training.budget.trained_within`; the config's steps are those of the budget."""

    def train(steps: int) -> Path:
        whole = replace(config, run=replace(config.run, steps=steps))
        return train_filter(whole, pairs, FROM_A_FOLDER, run, resume=True, say=say)

    def tell(plan: Plan) -> None:
        say(f"{run.name}: {plan.steps} steps, {epochs_of(config, plan.steps, pairs):.1f} epochs")

    return trained_within(budget, run, lambda: _step_s(config, pairs), train, tell)


def epochs_of(config: Pix2PixConfig, steps: int, pairs: PairSet) -> float:
    """How often a run of so many steps sees every pair that it learns from."""
    return steps * config.run.batch / len(pairs.split(config.pairs.held_every)[0].pairs)


def _step_s(config: Pix2PixConfig, pairs: PairSet) -> float:
    trainer = new_filter_trainer(config)
    learnt = pairs.split(config.pairs.held_every)[0]
    sampler = PairSampler(learnt.pairs, FROM_A_FOLDER, config.pairs, config.run.seed)
    return tried_step_s(
        lambda step: filter_step(trainer, sampler.batch(step, config.run.batch), config.run.learning_rate),
        config.run.threads,
    )
