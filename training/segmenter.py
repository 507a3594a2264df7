"""A small segmenter, top to bottom: network, one step, the loop; it reads from drawn photos which layout they show.

It is trained on real photos alone. Drawn ones are held against what it finds in real ones that it never saw, so its
scores are its own ("mIoU, own segmenter") and beside those of published segmenters they say nothing.

Source: O. Ronneberger et al., "U-Net", MICCAI 2015 (arXiv:1505.04597), with few channels and batch norm.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.checkpoint import check_classes, check_network, load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError, build
from training.data.clips import MaterialError
from training.data.layout_pairs import Ids, LayoutBatch, LayoutConfig, LayoutSampler, LayoutSet, held_layout
from training.data.pair_batches import as_units
from training.data.pair_makers import Rgb
from training.layout_scores import confusion, ious
from training.loop import RunLog, begun, launched, onto, set_learning_rate

PARTS = ("network", "adam")
METRIC = "mIoU, own segmenter"
NEVER = -1e4


@dataclass(frozen=True, slots=True)
class SegmenterNetworkConfig:
    """The network.

    Attributes:
        channels: On the finest grid; each coarser one has twice as many.
        grids: How many there are; the sides of pictures are multiples of 2^(grids - 1).
    """

    channels: int = 16
    grids: int = 5


@dataclass(frozen=True, slots=True)
class SegmenterRunConfig:
    """How long and how fast.

    Attributes:
        seed: Decides weights and batches.
        steps: Optimiser steps.
        batch: Pairs a step.
        learning_rate: Adam's, in a line down to 0.
        balance: Pixels weigh 1 / (share of their class)^balance: 0 leaves rare classes rare, 1 makes all alike.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
        look_every: Steps between scores of held-back pairs.
        threads: Torch threads.
        bf16: Autocast the convolutions to bfloat16.
    """

    seed: int = 2021
    steps: int = 1500
    batch: int = 4
    learning_rate: float = 2e-3
    balance: float = 0.5
    checkpoint_every: int = 250
    log_every: int = 50
    look_every: int = 500
    threads: int = 2
    bf16: bool = False


@dataclass(frozen=True, slots=True)
class SegmenterTraining:
    """One run."""

    network: SegmenterNetworkConfig = field(default_factory=SegmenterNetworkConfig)
    layouts: LayoutConfig = field(default_factory=LayoutConfig)
    run: SegmenterRunConfig = field(default_factory=SegmenterRunConfig)


class Segmenter(nn.Module):
    """Photos float [N, 3, H, W] in [-1, 1] to logits [N, classes, H, W]."""

    def __init__(self, network: SegmenterNetworkConfig, classes: int) -> None:
        super().__init__()
        widths = [network.channels * 2**i for i in range(network.grids)]
        first = _twice(3, widths[0], 1)
        self.down = nn.ModuleList([first, *(_twice(a, b, 2) for a, b in pairwise(widths))])
        self.up = nn.ModuleList(_twice(a + b, a, 1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, photo: Tensor) -> Tensor:
        """See the class."""
        x, seen = photo, []
        for layer in self.down:
            x = layer(x)
            seen.append(x)
        seen.pop()
        for layer in reversed(self.up):
            x = layer(torch.cat([seen.pop(), nn.functional.interpolate(x, scale_factor=2.0)], 1))
        out: Tensor = self.last(x)
        return out


def _twice(before: int, after: int, stride: int) -> nn.Sequential:
    first = [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


@dataclass(slots=True)
class SegmenterTrainer:
    """Everything that changes while training, and how much pixels of each class weigh."""

    config: SegmenterTraining
    fabric: Fabric
    shared: Any
    network: Segmenter
    adam: torch.optim.Adam
    weights: Tensor
    step: int = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {**parts_of(self, PARTS), "config": dataclasses.asdict(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network or to other classes.
        """
        check_network(state, self.config.network)
        check_classes(state, self.config.layouts.classes)
        restore_parts(self, PARTS, state)


def new_segmenter_trainer(config: SegmenterTraining, learnt: LayoutSet) -> SegmenterTrainer:
    """A fresh network, drawn from the run's seed, on the device of this process."""
    fabric = launched(bf16=config.run.bf16)
    torch.manual_seed(config.run.seed)
    network = Segmenter(config.network, config.layouts.classes)
    adam = torch.optim.Adam(network.parameters(), config.run.learning_rate)
    weights = torch.from_numpy(class_weights(learnt, config.layouts, config.run.balance)).to(fabric.device)
    return SegmenterTrainer(config, fabric, fabric.setup_module(network), network, adam, weights)


def class_weights(learnt: LayoutSet, layouts: LayoutConfig, balance: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """How much a pixel of each class weighs: float32 [classes], 1 on average over pixels, 0 where it does not count."""
    counts = sum(np.bincount(each.ids.ravel(), minlength=layouts.classes) for each in learnt.pairs)
    shares = np.asarray(counts, np.float64)
    if layouts.dont_care >= 0:
        shares[layouts.dont_care] = 0.0
    there = shares > 0
    weights = np.where(there, 1.0 / np.maximum(shares / shares.sum(), 1e-9) ** balance, 0.0)
    return np.asarray(weights * shares.sum() / (weights * shares).sum(), np.float32)


def train_segmenter(
    config: SegmenterTraining,
    pairs: LayoutSet,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train from layouts and photos in memory; see `training.pix2pix.train_filter`.

    Raises:
        ConfigError: The config does not fit itself, the run's folder or the checkpoint.
        MaterialError: Everything would be held back.
    """
    config.layouts.check()
    for each in pairs.left_out:
        say(f"left out: {each.name} {each.reason}")
    learnt, held = pairs.split(config.layouts.held_every)
    if not learnt.pairs:
        raise MaterialError("no pair is left to learn from; lower [layouts] held_every, or add pictures")
    say(f"{len(learnt.pairs)} pairs to learn from, {len(held.pairs)} held back, {len(pairs.left_out)} left out")
    checkpoint = begun(run, config.run.threads, resume=resume)
    trainer = new_segmenter_trainer(config, learnt)
    sampler = LayoutSampler(learnt, config.layouts, config.run.seed)
    if resume and checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
    last = min(config.run.steps, stop_after or config.run.steps)
    began_s = time.perf_counter()
    with RunLog(run) as log:
        while trainer.step < last:
            loss = segmenter_step(trainer, sampler.batch(trainer.step, config.run.batch))
            trainer.step += 1
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, "loss": loss})
            if held.pairs and trainer.step % config.run.look_every == 0:
                log.write({"step": trainer.step, "held_miou": _mean_iou(trainer.network, held, config.layouts)})
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    return checkpoint


def segmenter_step(trainer: SegmenterTrainer, batch: LayoutBatch) -> float:
    """Cross-entropy of every pixel that counts, weighted by its class; returns the loss."""
    layout, photo = onto(trainer.fabric, batch.layout, batch.photo)
    run = trainer.config.run
    set_learning_rate(trainer.adam, run.learning_rate * (1 - trainer.step / run.steps))
    with trainer.fabric.autocast():
        logits = trainer.shared(photo)
    loss = nn.functional.cross_entropy(logits.float(), layout.argmax(1), trainer.weights, reduction="none").mean()
    trainer.adam.zero_grad()
    trainer.fabric.backward(loss)
    trainer.adam.step()
    return float(loss.item())


@torch.no_grad()
def found_layout(network: Segmenter, photo: Rgb, dont_care: int) -> Ids:
    """The class of every pixel, never the one that does not count; `photo`'s sides must suit the network."""
    network.eval()
    logits = network(torch.from_numpy(as_units(photo))[None].to(network.last.weight.device))[0]
    if dont_care >= 0:
        logits[dont_care] = NEVER
    return np.asarray(logits.argmax(0).cpu().numpy(), np.uint8)


def _mean_iou(network: Segmenter, held: LayoutSet, layouts: LayoutConfig) -> float:
    pairs = [held_layout(each, layouts) for each in held.pairs]
    found = [
        confusion(each.ids, found_layout(network, each.photo, layouts.dont_care), layouts.classes, layouts.dont_care)
        for each in pairs
    ]
    network.train()
    return float(np.nanmean(ious(np.sum(found, axis=0))))


def segmenter_of_run(checkpoint: Path) -> tuple[Segmenter, SegmenterTraining, int]:
    """The network of a run, its config and its step.

    Raises:
        ConfigError: Missing or broken file, or one of another command.
    """
    state = load_checkpoint(checkpoint)
    if "judge" in state or "network" not in state:
        raise ConfigError(f"{checkpoint} is no segmenter; train one: python -m training segmenter")
    config = build(SegmenterTraining, state["config"], str(checkpoint))
    network = Segmenter(config.network, config.layouts.classes)
    network.load_state_dict(state["network"])
    return network.requires_grad_(requires_grad=False).eval(), config, state["step"]
