"""Filters that were trained alike: each recipe gets the same pairs, seed and budget, and all draw the same test pairs.

A budget is a number of steps, or minutes of processor time; a recipe's learning rate goes its whole course within it.
A comparison that was interrupted goes on where it was: plans, checkpoints and pictures lie in its folder.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.config import ConfigError
from training.data.pair_batches import PairSampler
from training.data.photo_pairs import PairSet
from training.loop import calculate_with
from training.pix2pix import FROM_A_FOLDER, Pix2PixConfig, filter_step, new_filter_trainer, train_filter

PLAN_FILE = "plan.json"
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
