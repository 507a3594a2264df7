"""What each recipe of a comparison may spend, and how many steps that is: found by trying a few, and kept.

A kept plan is what lets an interrupted comparison go on bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.config import ConfigError
from training.loop import calculate_with

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


def planned(budget: Budget, run: Path, step_s: Callable[[], float]) -> Plan:
    """The plan of a recipe, kept in its folder.

    Args:
        budget: The same for every recipe.
        run: The recipe's folder.
        step_s: Tries a few steps, see `tried_step_s`.

    Raises:
        ConfigError: The folder was begun with another budget.
    """
    path = run / PLAN_FILE
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["budget"] != asdict(budget):
            raise ConfigError(f"{run} was begun with the budget {known['budget']}; pass that, or another --out")
        return Plan(budget, known["steps"], known["step_s"])
    taken_s = 0.0 if budget.steps else step_s()
    plan = Plan(budget, budget.steps or max(round(budget.minutes * 60 / taken_s), 1), round(taken_s, 4))
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    return plan


def trained_within(
    budget: Budget,
    run: Path,
    step_s: Callable[[], float],
    train: Callable[[int], Path],
    tell: Callable[[Plan], None],
) -> Path:
    """Train a recipe within a budget, go on with it, or leave it where it is done.

    Args:
        budget: The same for every recipe.
        run: The recipe's folder.
        step_s: Tries a few steps, see `tried_step_s`.
        train: Trains for so many steps, from the run's checkpoint on.
        tell: Takes the plan of what is not done yet.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: The folder holds a run with another budget, or another network.
    """
    plan = planned(budget, run, step_s)
    checkpoint = run / CHECKPOINT_FILE
    if checkpoint.exists() and load_checkpoint(checkpoint)["step"] >= plan.steps:
        return checkpoint
    tell(plan)
    return train(plan.steps)


def tried_step_s(step: Callable[[int], object], threads: int) -> float:
    """Processor time of a step, the median of a few.

    Args:
        step: Takes one, given its number; what it trains is thrown away.
        threads: Torch's.
    """
    calculate_with(threads)
    taken = []
    for number in range(1 + PROBED_STEPS):
        began_s = time.process_time()
        step(number)
        taken.append(time.process_time() - began_s)
    return float(np.median(taken[1:]))
