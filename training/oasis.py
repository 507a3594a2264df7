"""The OASIS recipe, top to bottom: layouts and photos, networks, one step, the loop.

As published, and the default of every number but the classes: a step of the generator, which wants every pixel taken
for its class, then one of the discriminator, which tells the classes of real pixels and drawn ones, balanced by how
rare a class is, with LabelMix at weight 10; Adam at 1e-4 and 4e-4 with betas 0 and 0.999, batches of 32, averaged
weights at 0.9999. The published run keeps weights alone; here a resumed run goes on bit for bit.

`[network] generator` and `[loss] gan` put Pix2Pix's or SPADE's generator and judge in the place of OASIS's, so that all
are trained alike (`training.compare_layouts`).

Ours, and off by default: `[loss]` adds distances to the photo itself, which mean something only where noise decides the
appearance (`[layouts] appearances`); with them a judge may come late, or not at all.

Source: V. Sushko et al., "You Only Need Adversarial Supervision for Semantic Image Synthesis", ICLR 2021
(arXiv:2012.04781); `train.py` and `config.py` of boschresearch/OASIS.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from models.filter_manifest import pinned_noise
from models.oasis import OasisDiscriminator
from models.pix2pix import PatchGan
from training.checkpoint import check_classes, check_network, load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError, build
from training.data.clips import MaterialError
from training.data.layout_pairs import (
    NO_CLASS,
    Ids,
    LayoutBatch,
    LayoutConfig,
    LayoutSampler,
    LayoutSet,
    appearance_of,
    held_layout,
    one_hot,
)
from training.data.pair_batches import as_levels
from training.data.pair_makers import Rgb
from training.efficientnet_lite import EfficientNetLite0, load_efficientnet
from training.filter_glance import write_sheet
from training.filter_licence import AS_ITS_DATA, SEE_THE_FOLDER
from training.layout_judges import SEGMENTS, LayoutJudge, PatchJudge, SegmentingJudge, check_gan
from training.layout_network import (
    LayoutGenerator,
    OasisNetworkConfig,
    new_generator,
    new_patch_judge,
    new_segmenting_judge,
)
from training.loop import RunLog, begun, channels_last, launched, onto, set_learning_rate
from training.oasis_losses import average_into, rarity, settle_statistics
from training.perceptual import perceptual_loss

PARTS = ("generator", "averaged", "judge", "generator_adam", "judge_adam")
PROCESS_SEED_OFFSET = 15_485_863
SHOWN = 8
LAST_RATE = 0.05
JUDGE_MULTIPLE = 64
STATISTICS_BATCHES = 51


@dataclass(frozen=True, slots=True)
class OasisLossConfig:
    """What a generator learns by. None but `gan` and `judge` is published for OASIS.

    Attributes:
        gan: "segments": the discriminator tells every pixel's class, as OASIS's; or one of patches: "vanilla", "lsgan"
            or "hinge" (`training.layout_judges`).
        judge: Weight of the discriminator's opinion.
        judge_from: The step at which the discriminator begins to learn.
        heard_from: The step from which the generator hears it, where that is later: one that has learnt for a few steps
            is a poor judge.
        judge_px: Side of the windows, drawn at random, that the discriminator is shown; 0: whole pictures.
        l1: Weight of the mean absolute error.
        pixels: Weight of the same, in which rare classes weigh more (`rarity`).
        edges: Weight of that of the differences of neighbouring pixels, weighted likewise.
        features: Weight of the mean absolute error of the discriminator's features.
        perceptual: Difference of EfficientNet-Lite0's features from those of the photo, see `training.perceptual`; its
            weights are frozen. The published code can do likewise with VGG, and does not by default.
    """

    gan: str = SEGMENTS
    judge: float = 1.0
    judge_from: int = 0
    heard_from: int = 0
    judge_px: int = 0
    l1: float = 0.0
    pixels: float = 0.0
    edges: float = 0.0
    features: float = 0.0
    perceptual: float = 0.0


@dataclass(frozen=True, slots=True)
class OasisRunConfig:
    """How long and how fast.

    Attributes:
        seed: Decides weights, noise and batches.
        epochs: Over all pairs, when `steps` is 0.
        steps: Whatever they are in epochs.
        batch: Pairs a step.
        generator_rate: Adam's.
        judge_rate: Adam's.
        falls_from: The step from which both rates fall in a line, to a twentieth at the last one; 0: never.
        beta1: Of both.
        beta2: Of both.
        label_mix: Weight of LabelMix.
        ema_decay: Of the averaged weights, which are the ones that ship.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
        look_every: Steps between sheets of held-back layouts.
        threads: Torch threads.
        bf16: Autocast the convolutions to bfloat16.
    """

    seed: int = 2021
    epochs: int = 200
    steps: int = 0
    batch: int = 32
    generator_rate: float = 1e-4
    judge_rate: float = 4e-4
    falls_from: int = 0
    beta1: float = 0.0
    beta2: float = 0.999
    label_mix: float = 10.0
    ema_decay: float = 0.9999
    checkpoint_every: int = 500
    log_every: int = 50
    look_every: int = 1000
    threads: int = 2
    bf16: bool = False


@dataclass(frozen=True, slots=True)
class OasisServedConfig:
    """How the filter is served.

    Attributes:
        title: One line for a list; empty: how many classes it draws from.
        appearance: Whose noise is pinned, where there are appearances.
        weights: Licence of the weights, for the manifest.
        data: What they were trained on and its licence, for the manifest; a semicolon between two.
    """

    title: str = ""
    appearance: int = 0
    weights: str = AS_ITS_DATA
    data: str = SEE_THE_FOLDER


@dataclass(frozen=True, slots=True)
class OasisTraining:
    """One run."""

    network: OasisNetworkConfig = field(default_factory=OasisNetworkConfig)
    layouts: LayoutConfig = field(default_factory=LayoutConfig)
    loss: OasisLossConfig = field(default_factory=OasisLossConfig)
    run: OasisRunConfig = field(default_factory=OasisRunConfig)
    served: OasisServedConfig = field(default_factory=OasisServedConfig)

    def check(self) -> None:
        """Hold the numbers against each other.

        Raises:
            ConfigError: They do not fit.
        """
        self.layouts.check()
        self.network.check()
        check_gan(self.loss.gan)
        if self.layouts.appearances and not self.network.noise:
            raise ConfigError("[layouts] appearances are told apart by their noise; set [network] noise above 0")
        if self.loss.judge_px % JUDGE_MULTIPLE or self.loss.judge_px > self.layouts.crop_px:
            raise ConfigError(
                f"[loss] judge_px = {self.loss.judge_px}: expected a multiple of {JUDGE_MULTIPLE}, at most crop_px"
            )
        if not 0 <= self.served.appearance < max(self.layouts.appearances, 1):
            raise ConfigError(
                f"[served] appearance = {self.served.appearance}, [layouts] appearances = {self.layouts.appearances}"
            )


@dataclass(slots=True)
class OasisTrainer:
    """Everything that changes while training, and `eye`, which is frozen and in no checkpoint.

    `asked` is the judge with its losses; `processor_s` is the processor time of all steps so far.
    """

    config: OasisTraining
    fabric: Fabric
    shared: dict[str, Any]
    generator: LayoutGenerator
    averaged: LayoutGenerator
    judge: OasisDiscriminator | PatchGan
    asked: LayoutJudge
    generator_adam: torch.optim.Adam
    judge_adam: torch.optim.Adam
    eye: EfficientNetLite0 | None
    step: int = 0
    processor_s: float = 0.0

    @property
    def adams(self) -> tuple[torch.optim.Adam, torch.optim.Adam]:
        """The generator's and the discriminator's."""
        return self.generator_adam, self.judge_adam

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        course = {"processor_s": self.processor_s, "config": dataclasses.asdict(self.config)}
        return parts_of(self, PARTS) | course

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network or to other classes.
        """
        check_network(state, self.config.network)
        check_classes(state, self.config.layouts.classes)
        restore_parts(self, PARTS, state)
        self.processor_s = state.get("processor_s", 0.0)


def new_oasis_trainer(config: OasisTraining, fabric: Fabric | None = None) -> OasisTrainer:
    """Fresh networks, drawn from the run's seed, on the device of this process."""
    fabric = fabric or launched(bf16=config.run.bf16)
    torch.manual_seed(config.run.seed)
    classes, segments = config.layouts.classes, config.loss.gan == SEGMENTS
    generator = new_generator(config.network, classes)
    judge = (new_segmenting_judge if segments else new_patch_judge)(config.network, classes)
    channels_last(generator, judge)
    averaged = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    betas = (config.run.beta1, config.run.beta2)
    generator_adam = torch.optim.Adam(generator.parameters(), config.run.generator_rate, betas)
    judge_adam = torch.optim.Adam(judge.parameters(), config.run.judge_rate, betas)
    shared = {"generator": fabric.setup_module(generator), "judge": fabric.setup_module(judge)}
    shared["judge"].mark_forward_method("features")
    averaged.to(fabric.device)
    asked: LayoutJudge = PatchJudge(shared["judge"], config.loss.gan)
    if segments:
        asked = SegmentingJudge(shared["judge"], _dont_care(config.layouts), config.run.label_mix)
    eye = load_efficientnet().to(fabric.device) if config.loss.perceptual else None
    return OasisTrainer(config, fabric, shared, generator, averaged, judge, asked, generator_adam, judge_adam, eye)


def train_oasis(
    config: OasisTraining,
    pairs: LayoutSet,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    fabric: Fabric | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train from layouts and photos in memory; see `training.pix2pix.train_filter`.

    Raises:
        ConfigError: The config does not fit itself, the run's folder or the checkpoint.
        MaterialError: Everything would be held back.
    """
    config.check()
    for each in pairs.left_out:
        say(f"left out: {each.name} {each.reason}")
    learnt, held = pairs.split(config.layouts.held_every)
    if not learnt.pairs:
        raise MaterialError("no pair is left to learn from; lower [layouts] held_every, or add pictures")
    say(f"{len(learnt.pairs)} pairs to learn from, {len(held.pairs)} held back, {len(pairs.left_out)} left out")
    checkpoint = begun(run, config.run.threads, resume=resume)
    trainer = new_oasis_trainer(config, fabric)
    fabric = trainer.fabric
    sampler = LayoutSampler(learnt, config.layouts, config.run.seed + fabric.global_rank * PROCESS_SEED_OFFSET)
    if resume and checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
    steps = steps_of(config.run, len(learnt.pairs))
    last = min(steps, stop_after or steps)
    began_s = time.perf_counter()
    with RunLog(run, silent=not fabric.is_global_zero) as log:
        while trainer.step < last:
            began_step_s = time.process_time()
            batch = sampler.batch(trainer.step, max(config.run.batch // fabric.world_size, 1))
            losses = oasis_step(trainer, batch, rates_of(trainer.step, steps, config.run))
            trainer.step += 1
            trainer.processor_s += time.process_time() - began_step_s
            if not fabric.is_global_zero:
                continue
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            if held.pairs and trainer.step % config.run.look_every == 0:
                show_held(trainer, held, run / f"look_{trainer.step:06d}.jpg")
            if trainer.step % config.run.checkpoint_every == 0 or trainer.step == last:
                save_checkpoint(checkpoint, trainer.state())
    fabric.barrier()
    return checkpoint


def steps_of(run: OasisRunConfig, pairs: int) -> int:
    """How many steps a run has."""
    return run.steps or max(run.epochs * pairs // run.batch, 1)


def rates_of(step: int, steps: int, run: OasisRunConfig) -> tuple[float, float]:
    """Learning rates of a step, the generator's first."""
    fallen = max(0, step - run.falls_from) / max(steps - run.falls_from, 1) if run.falls_from else 0.0
    left = 1.0 - (1.0 - LAST_RATE) * fallen
    return run.generator_rate * left, run.judge_rate * left


def noise_of(config: OasisTraining) -> Tensor | None:
    """The noise of each appearance, float [appearances, noise], as a filter of its seed has it; None: it is drawn."""
    count, channels = config.layouts.appearances, config.network.noise
    if not count:
        return None
    return torch.from_numpy(np.concatenate([pinned_noise(config.run.seed + k, channels) for k in range(count)]))


def oasis_step(trainer: OasisTrainer, batch: LayoutBatch, rates: tuple[float, float]) -> dict[str, float]:
    """One step of the generator, then one of the discriminator, each with noise of its own; returns the losses."""
    for adam, rate in zip(trainer.adams, rates, strict=True):
        set_learning_rate(adam, rate)
    tensors = onto(trainer.fabric, batch.layout, batch.photo)
    # A fifth of a step's time on a processor.
    layout, photo = (each.contiguous(memory_format=torch.channels_last) for each in tensors)
    noises = noise_of(trainer.config)
    z = None if noises is None else noises[torch.from_numpy(batch.appearance)].to(layout)
    judges = trainer.config.loss.judge > 0 and trainer.step >= trainer.config.loss.judge_from
    trainer.judge.requires_grad_(requires_grad=False)
    drawn = trainer.shared["generator"](layout, z)
    window = _window(trainer.config)
    losses = _of_photo(trainer, layout, photo, drawn)
    if judges and trainer.step >= trainer.config.loss.heard_from:
        losses |= _of_judge(trainer, layout[window], photo[window], drawn[window])
    trainer.generator_adam.zero_grad()
    trainer.fabric.backward(torch.stack(list(losses.values())).sum())
    trainer.generator_adam.step()
    if judges:
        # Without noise, or with pinned noise, nearly the same would be drawn once more.
        hears = z is None and trainer.config.network.noise > 0
        again = trainer.shared["generator"](layout).detach() if hears else drawn.detach()
        losses |= _judge_step(trainer, layout[window], photo[window], again[window])
    average_into(trainer.averaged, trainer.generator, trainer.config.run.ema_decay)
    return {name: value.item() for name, value in losses.items()}


def _window(config: OasisTraining) -> tuple[slice, ...]:
    """The part of every picture of a batch that the discriminator is shown."""
    side = config.loss.judge_px or config.layouts.crop_px
    top, left = (int(each) for each in torch.randint(config.layouts.crop_px - side + 1, (2,)))
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _of_photo(trainer: OasisTrainer, layout: Tensor, photo: Tensor, drawn: Tensor) -> dict[str, Tensor]:
    """Distances to the photo."""
    weights, losses = trainer.config.loss, dict[str, Tensor]()
    if weights.l1:
        losses["l1"] = weights.l1 * (drawn - photo).abs().mean()
    if weights.pixels or weights.edges:
        share, error = rarity(layout)[:, None], drawn - photo
        across = [(error.diff(dim=dim).abs() * share.narrow(dim, 1, share.shape[dim] - 1)).mean() for dim in (2, 3)]
        losses["pixels"] = weights.pixels * (error.abs() * share).mean()
        losses["edges"] = weights.edges * torch.stack(across).sum()
    if trainer.eye is not None:
        losses["perceptual"] = weights.perceptual * perceptual_loss(trainer.eye, drawn.float(), photo)
    return losses


def _of_judge(trainer: OasisTrainer, layout: Tensor, photo: Tensor, drawn: Tensor) -> dict[str, Tensor]:
    """What the discriminator thinks of a drawn picture."""
    weights, judge = trainer.config.loss, trainer.asked
    seen = judge.seen(layout, drawn)
    losses = {"generator": weights.judge * judge.opinion(seen[-1], layout)}
    if weights.features:
        with torch.no_grad():
            of_photo = judge.seen(layout, photo)
        far = [nn.functional.l1_loss(a.float(), b.float()) for a, b in zip(seen[:-1], of_photo[:-1], strict=True)]
        losses["features"] = weights.features * torch.stack(far).mean()
    return losses


def _judge_step(trainer: OasisTrainer, layout: Tensor, photo: Tensor, drawn: Tensor) -> dict[str, Tensor]:
    """One step of the discriminator."""
    trainer.judge.requires_grad_(requires_grad=True)
    total, losses = trainer.asked.losses(layout, photo, drawn)
    trainer.judge_adam.zero_grad()
    trainer.fabric.backward(total)
    trainer.judge_adam.step()
    return losses


def _dont_care(layouts: LayoutConfig) -> int | None:
    return None if layouts.dont_care == NO_CLASS else layouts.dont_care


@torch.no_grad()
def show_held(trainer: OasisTrainer, held: LayoutSet, sheet: Path) -> None:
    """Held-back layouts in colours, what is drawn from them with one noise for all, or the photo's, and the photos."""
    config = trainer.config
    averaged = copy.deepcopy(trainer.averaged)
    source = torch.Generator().manual_seed(config.run.seed)
    one = torch.randn(1, config.network.noise, generator=source).to(trainer.fabric.device)
    noises = noise_of(config)
    rows: list[list[Rgb]] = []
    shown = []
    for i in np.linspace(0, len(held.pairs) - 1, min(SHOWN, len(held.pairs))).astype(int):
        ids, photo = held_layout(held.pairs[i], config.layouts)
        layout = torch.from_numpy(one_hot(ids, config.layouts.classes))[None].to(trainer.fabric.device)
        k = appearance_of(held.names[i], config.layouts.appearances)
        z = one if noises is None else noises[k : k + 1].to(trainer.fabric.device)
        shown.append((ids, layout, z, photo))
    # Early in a run the average's own statistics are far behind.
    settle_statistics(averaged, [(layout, z) for _, layout, z, _ in shown])
    for ids, layout, z, photo in shown:
        rows.append([in_colours(ids), as_levels(averaged(layout, z)[0].float().cpu().numpy()), photo])
    write_sheet(sheet, rows)


def in_colours(ids: Ids) -> Rgb:
    """A layout to look at: neighbouring ids have colours far apart."""
    hue = (ids.astype(np.uint16) * 47 % 180).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(ids, 150), np.where(ids % 2, 220, 160).astype(np.uint8)], -1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def is_oasis(checkpoint: Path) -> bool:
    """Whether a run draws from layouts.

    Raises:
        ConfigError: Missing or broken file.
    """
    return "layouts" in load_checkpoint(checkpoint)["config"]


def oasis_of_run(checkpoint: Path) -> tuple[LayoutGenerator, OasisTraining, int]:
    """The averaged generator of a run, its config and its step.

    Raises:
        ConfigError: Missing or broken file.
    """
    state = load_checkpoint(checkpoint)
    config = build(OasisTraining, state["config"], str(checkpoint))
    generator = new_generator(config.network, config.layouts.classes)
    generator.load_state_dict(state["averaged"])
    return generator.eval(), config, state["step"]


def batches_of(pairs: LayoutSet, config: OasisTraining) -> Iterator[tuple[Tensor, Tensor]]:
    """Layouts that were learnt from, each with its appearance's noise, or with some: what statistics are taken over."""
    source, noises = torch.Generator().manual_seed(config.run.seed), noise_of(config)
    for i in np.linspace(0, len(pairs.pairs) - 1, STATISTICS_BATCHES).astype(int):
        k = appearance_of(pairs.names[i], config.layouts.appearances)
        z = torch.randn(1, config.network.noise, generator=source) if noises is None else noises[k : k + 1]
        yield torch.from_numpy(layout_of(pairs, int(i), config)), z


def layout_of(pairs: LayoutSet, index: int, config: OasisTraining) -> NDArray[np.float32]:
    """A whole layout, float32 [1, classes, S, S]; every other one mirrored where samples are."""
    ids = held_layout(pairs.pairs[index], config.layouts).ids
    mirrored = config.layouts.flip and index % 2
    return one_hot(np.asarray(cv2.flip(ids, 1) if mirrored else ids, np.uint8), config.layouts.classes)[None]
