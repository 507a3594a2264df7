"""Filters that were trained alike: each recipe gets the same pairs, seed and budget, and all draw the same test pairs.

A budget is a number of steps, or minutes of processor time; a recipe's learning rate goes its whole course within it.
How many steps minutes are is found by trying a few, and kept, so that an interrupted comparison goes on bit for bit.
Differences are between the same test pairs, and so are the resamples behind their intervals.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.config import ConfigError
from training.data.pair_batches import PairSampler
from training.data.pair_makers import Pair, Rgb
from training.data.photo_pairs import PairSet
from training.efficientnet_lite import WEIGHTS, EfficientNetLite0
from training.evaluate_filter import FLOOR, INPUT, RESIZED
from training.figure_table import figure_table
from training.filter_glance import held_pair, write_sheet
from training.filter_subject import run_subject
from training.intervals import RESAMPLES, SEED, Interval
from training.loop import calculate_with
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
    rounded,
)
from training.picture_figures import luma_ssim, psnr_db
from training.pix2pix import FROM_A_FOLDER, Pix2PixConfig, filter_step, new_filter_trainer, train_filter

Floats = NDArray[np.float64]
Report = dict[str, object]
PLAN_FILE = "plan.json"
SHOWN = 8
PROBED_STEPS = 4
"""Beside a first one, which is slower."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What each recipe may spend; one of the two is 0.

    Attributes:
        steps: Of the generator.
        minutes: Of processor time, all threads together.
    """

    steps: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.minutes > 0):
            raise ConfigError("pass either --steps or --minutes, more than 0")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long one recipe is trained.

    Attributes:
        budget: What was asked for.
        steps: That it comes to.
        step_s: Processor time that a step took when it was tried; 0 where steps were asked for.
    """

    budget: Budget
    steps: int
    step_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one recipe's pictures are worth, each figure with its resamples over the same pictures.

    Attributes:
        values: By figure.
        again: Likewise, [RESAMPLES].
    """

    values: Mapping[str, float]
    again: Mapping[str, Floats]

    def intervals(self) -> dict[str, Interval]:
        """By figure."""
        return {key: rounded(value, self.again[key]) for key, value in self.values.items()}

    def less(self, base: Measured) -> dict[str, Interval]:
        """What they are more than another's, by figure, and how much of its kernel distance is gone."""
        found = {
            key: rounded(value - base.values[key], self.again[key] - base.again[key])
            for key, value in self.values.items()
        }
        gone = rounded(1 - self.values[KD] / base.values[KD], 1 - self.again[KD] / base.again[KD])
        return {**found, f"share of {KD} that is gone": gone}


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
    """Train a recipe within a budget, or go on with it.

    Args:
        config: Its steps are those of the budget.
        pairs: What to learn from.
        budget: The same for every recipe.
        run: The recipe's folder.
        say: Takes one line of progress.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: The folder holds a run with another budget, or another network.
    """
    plan = _plan(config, pairs, budget, run)
    checkpoint = run / CHECKPOINT_FILE
    if checkpoint.exists() and load_checkpoint(checkpoint)["step"] >= plan.steps:
        return checkpoint
    say(f"{run.name}: {plan.steps} steps, {epochs_of(config, plan.steps, pairs):.1f} epochs")
    config = replace(config, run=replace(config.run, steps=plan.steps))
    return train_filter(config, pairs, FROM_A_FOLDER, run, resume=True, say=say)


def epochs_of(config: Pix2PixConfig, steps: int, pairs: PairSet) -> float:
    """How often a run of so many steps sees every pair that it learns from."""
    return steps * config.run.batch / len(pairs.split(config.pairs.held_every)[0].pairs)


def _plan(config: Pix2PixConfig, pairs: PairSet, budget: Budget, run: Path) -> Plan:
    path = run / PLAN_FILE
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["budget"] != asdict(budget):
            raise ConfigError(f"{run} was begun with the budget {known['budget']}; pass that, or another --out")
        return Plan(budget, known["steps"], known["step_s"])
    step_s = 0.0 if budget.steps else _step_s(config, pairs)
    plan = Plan(budget, budget.steps or max(round(budget.minutes * 60 / step_s), 1), round(step_s, 4))
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    return plan


def _step_s(config: Pix2PixConfig, pairs: PairSet) -> float:
    """Processor time of a step, the median of a few; the networks that take them are thrown away."""
    calculate_with(config.run.threads)
    trainer = new_filter_trainer(config)
    learnt = pairs.split(config.pairs.held_every)[0]
    sampler = PairSampler(learnt.pairs, FROM_A_FOLDER, config.pairs, config.run.seed)
    taken = []
    for step in range(1 + PROBED_STEPS):
        began_s = time.process_time()
        filter_step(trainer, sampler.batch(step, config.run.batch), config.run.learning_rate)
        taken.append(time.process_time() - began_s)
    return float(np.median(taken[1:]))
