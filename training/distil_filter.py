"""The recipe by which a small network on planes learns a filter, top to bottom: lessons, one step, the loop.

A larger filter, the teacher, first draws a number of samples, once. The steps then see these lessons over and over, in
planes and in bytes as the small network is served, so that a step costs neither a teacher nor the spoiling of pictures.
A part of the loss holds the network against the teacher's pictures, from which grain and luck are gone, and the rest
against what should be drawn.

Source: G. Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, for pictures.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from kernels.folded_planes import FOLD
from models.engine import EngineError
from models.filter_graphs import in_cells
from models.filter_networks import FilterNetwork, is_recurrent, load_filter_weights
from models.plane_filter import PlaneFilter
from training.checkpoint import check_network, load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError
from training.data.clips import MaterialError
from training.data.pair_batches import PairSampler
from training.data.pair_makers import PairMaker
from training.data.photo_pairs import PairSet
from training.filter_glance import glance
from training.filter_network import new_filter
from training.loop import RunLog, average, begun, channels_last, set_learning_rate
from training.picture_losses import gradient_loss
from training.pix2pix import Pix2PixConfig, learning_rate_of

PARTS = ("generator", "averaged", "generator_adam")
TAUGHT_TOGETHER = 8
_MIDDLE = 127.5


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Samples in folded planes, uint8 [L, S / 4, S / 4, 24] each.

    Attributes:
        source: What the filter is shown.
        target: What it should draw.
        taught: What the teacher draws.
    """

    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    taught: NDArray[np.uint8]


@dataclass(slots=True)
class DistilTrainer:
    """Everything that changes while training."""

    config: Pix2PixConfig
    generator: PlaneFilter
    averaged: PlaneFilter
    generator_adam: torch.optim.Adam
    step: int = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint that is read like one of `training.pix2pix`."""
        return {**parts_of(self, PARTS), "config": dataclasses.asdict(self.config)}


def distil_filter(
    config: Pix2PixConfig,
    pairs: PairSet,
    maker: PairMaker,
    teacher: Path,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a network on planes from pairs and a teacher.

    Args:
        config: What to train; of the losses `l1`, `edges` and `teacher` count.
        pairs: From `training.pix2pix.pairs_of`.
        maker: Spoils sources.
        teacher: Weights of the filter to learn from.
        run: Folder for log.jsonl, the checkpoint and contact sheets.
        resume: Go on from the run's checkpoint, with the same pairs and teacher.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.
        say: Takes one line.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: The config does not fit itself, the teacher, the run's folder or the checkpoint.
        MaterialError: Everything would be held back.
    """
    config.check()
    drawer = read_teacher(teacher)
    learnt, held = pairs.split(config.pairs.held_every)
    if not learnt.pairs:
        raise MaterialError("no pair is left to learn from; lower [pairs] held_every, or add pictures")
    checkpoint = begun(run, config.run.threads, resume=resume)
    trainer = new_distil_trainer(config)
    if resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        check_network(state, config.network)
        restore_parts(trainer, PARTS, state)
    lessons = teach(drawer, PairSampler(learnt.pairs, maker, config.pairs, config.run.seed), config.run.lessons)
    say(f"{len(learnt.pairs)} pairs gave {len(lessons.source)} lessons, {len(held.pairs)} are held back")
    last = min(config.run.steps, stop_after or config.run.steps)
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while trainer.step < last:
            chosen = _chosen(trainer.step, config, len(lessons.source))
            losses = distil_step(trainer, lessons, chosen)
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if held.pairs and trainer.step % config.run.look_every == 0:
                sheet = run / f"look_{trainer.step:06d}.jpg"
                log.write({"step": trainer.step, **glance(trainer.averaged, held, maker, config.pairs, sheet)})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    return checkpoint


def read_teacher(weights: Path) -> FilterNetwork:
    """A filter to learn from.

    Raises:
        ConfigError: It is not there, is damaged, takes no picture, or needs a memory.
    """
    try:
        network = load_filter_weights(weights)
    except EngineError as error:
        raise ConfigError(f"--teacher: {error}") from None
    if network.config.in_channels != 3 or is_recurrent(network):
        raise ConfigError(f"--teacher {weights} must draw a picture from a picture alone")
    return network


def new_distil_trainer(config: Pix2PixConfig) -> DistilTrainer:
    """A fresh network, drawn from the run's seed.

    Raises:
        ConfigError: The config asks for another kind of network, for no lessons or no steps.
    """
    torch.manual_seed(config.run.seed)
    generator = new_filter(config.network)
    if not isinstance(generator, PlaneFilter):
        raise ConfigError(f"[network] generator is {config.network.generator!r}; what is distilled is 'planes'")
    if config.run.steps < 1 or config.run.lessons < config.run.batch:
        raise ConfigError("[run] needs steps, and at least as many lessons as a batch has")
    if not 0.0 <= config.loss.teacher <= 1.0:
        raise ConfigError(f"[loss] teacher is {config.loss.teacher}, a share: expected 0 to 1")
    generator.train()
    channels_last(generator)
    averaged = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    betas = (config.run.beta1, config.run.beta2)
    adam = torch.optim.Adam(generator.parameters(), config.run.learning_rate, betas)
    return DistilTrainer(config, generator, averaged, adam)


@torch.no_grad()
def teach(teacher: FilterNetwork, sampler: PairSampler, count: int) -> Lessons:
    """Have the teacher draw the first samples of a run."""
    parts: list[tuple[NDArray[np.uint8], ...]] = []
    for step in range(-(-count // TAUGHT_TOGETHER)):
        batch = sampler.batch(step, TAUGHT_TOGETHER)
        shown = torch.from_numpy(batch.source[:, 0]).contiguous(memory_format=torch.channels_last)
        drawn = np.ascontiguousarray(teacher(shown).numpy())
        parts.append(tuple(in_cells(each) for each in (batch.source[:, 0], batch.target[:, 0], drawn)))
    source, target, taught = (np.concatenate(each)[:count] for each in zip(*parts, strict=True))
    return Lessons(source, target, taught)


def _chosen(step: int, config: Pix2PixConfig, lessons: int) -> NDArray[np.int64]:
    """Which lessons a step sees: all are seen once before any is seen twice."""
    a_round = lessons // config.run.batch
    order = np.random.default_rng([config.run.seed, 4, step // a_round]).permutation(lessons)
    first = step % a_round * config.run.batch
    return order[first : first + config.run.batch]


def distil_step(trainer: DistilTrainer, lessons: Lessons, chosen: NDArray[np.int64]) -> dict[str, float]:
    """One step; returns the losses."""
    config = trainer.config
    source, target, taught = _tensors(lessons, chosen)
    set_learning_rate(trainer.generator_adam, learning_rate_of(trainer.step, config.run.steps, config.run))
    drawn = trainer.generator.redraw(source)
    errors = {"target": _error(config, drawn, target), "taught": _error(config, drawn, taught)}
    total = (1.0 - config.loss.teacher) * errors["target"] + config.loss.teacher * errors["taught"]
    trainer.generator_adam.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    trainer.generator_adam.step()
    average(trainer.averaged, trainer.generator, trainer.step, config.run.ema_decay)
    return {name: value.item() for name, value in errors.items()} | {"total": total.item()}


def _tensors(lessons: Lessons, chosen: NDArray[np.int64]) -> Iterator[Tensor]:
    """Float [B, 24, S / 4, S / 4] in 0 to 255, laid out channels last as the bytes are."""
    for each in (lessons.source, lessons.target, lessons.taught):
        yield torch.from_numpy(each[chosen]).permute(0, 3, 1, 2).float()


def _error(config: Pix2PixConfig, drawn: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of the bytes, and of the differences of luma's neighbours, in halves of the range."""
    error = config.loss.l1 * (drawn - wanted).abs().mean()
    luma, right = (pixel_shuffle(each[:, : FOLD**2], FOLD) for each in (drawn, wanted))
    return (error + config.loss.edges * gradient_loss(luma, right)) / _MIDDLE
