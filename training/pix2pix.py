"""The Pix2Pix recipe, top to bottom: pairs, networks, one step, the loop.

As published, and the default of every number: a step of the judge (half of the loss on a real pair and on a drawn one),
then one of the generator (the judge's loss and 100 x the mean absolute error), Adam at 2e-4 with betas 0.5 and 0.999,
batches of one, half of the epochs at that rate and half down to 0, pictures of 286 cropped to 256 and mirrored.
Ours, off by default: the errors of edges, matched features, those of a network that knows ImageNet's classes (`[loss]
perceptual`), averaged weights, small networks, and stills in motion, of which neighbouring views must be drawn alike
(`[pairs] frames`, `[loss] flicker`).

Source: P. Isola et al., CVPR 2017 (arXiv:1611.07004); junyanz/pytorch-CycleGAN-and-pix2pix, `models/pix2pix_model.py`.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from models.pix2pix import PatchGan
from models.steady_filter import SteadyFilter
from training.checkpoint import check_network, load_checkpoint, parts_of, restore_parts, save_checkpoint
from training.config import ConfigError, build
from training.data.clips import MaterialError
from training.data.pair_batches import PairBatch, PairDataConfig, PairSampler
from training.data.pair_makers import PairMaker, maker_named, same, unchanged
from training.data.photo_pairs import PairSet, read_pairs, read_photos
from training.efficientnet_lite import EfficientNetLite0, load_efficientnet
from training.filter_glance import glance
from training.filter_licence import AS_ITS_DATA, SEE_THE_FOLDER
from training.filter_network import Filter, FilterNetworkConfig, drawn_run, has_memory, new_filter, new_judge
from training.loop import RunLog, average, begun, channels_last, launched, onto, set_learning_rate
from training.perceptual import perceptual_loss
from training.picture_losses import check_gan, flicker_loss, generator_loss, gradient_loss, judge_loss
from training.quality import feature_loss

PARTS = ("generator", "averaged", "judge", "generator_adam", "judge_adam")
FROM_A_FOLDER = PairMaker("pairs as they are", same, unchanged)
# Each process draws batches of its own, the first one those of a run that is alone.
PROCESS_SEED_OFFSET = 15_485_863


@dataclass(frozen=True, slots=True)
class FilterLossConfig:
    """Weights of the generator's losses.

    Attributes:
        gan: "vanilla", "lsgan" or "hinge".
        judge: Weight of the judge's loss; 0 trains no judge.
        l1: Mean absolute error, of pictures in [-1, 1].
        edges: Mean absolute error of the differences of neighbouring pixels.
        features: Mean absolute difference of the judge's features.
        flicker: Change of the error between neighbouring views, which needs `[pairs] frames` of 2 or more.
        perceptual: Difference of EfficientNet-Lite0's features, see `training.perceptual`; its weights are frozen.
        perceptual_px: Side of the square in which they are looked at, elsewhere in every step; 0: whole pictures.
        teacher: Of `training.distil_filter` alone: the share of the loss that holds the network against its teacher's
            pictures; the rest holds it against the targets.
    """

    gan: str = "vanilla"
    judge: float = 1.0
    l1: float = 100.0
    edges: float = 0.0
    features: float = 0.0
    flicker: float = 0.0
    perceptual: float = 0.0
    perceptual_px: int = 0
    teacher: float = 0.0


@dataclass(frozen=True, slots=True)
class FilterRunConfig:
    """How long and how fast.

    Attributes:
        seed: Decides weights and batches.
        epochs: Over all pairs, when `steps` is 0.
        steps: Steps of the generator, whatever they are in epochs; 0: as `epochs` says.
        batch: Pairs a step.
        learning_rate: Adam's, of both networks, constant and then in a line down to 0.
        constant_share: Of the steps at the full rate.
        beta1: Adam's.
        beta2: Adam's.
        ema_decay: Of the averaged weights, which are the ones that ship; 0: those of the last step.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
        look_every: Steps between contact sheets of held-back pairs.
        threads: Torch threads.
        bf16: Autocast the convolutions to bfloat16.
        lessons: Of `training.distil_filter` alone: samples that the teacher draws before the first step.
    """

    seed: int = 2017
    epochs: int = 200
    steps: int = 0
    batch: int = 1
    learning_rate: float = 2e-4
    constant_share: float = 0.5
    beta1: float = 0.5
    beta2: float = 0.999
    ema_decay: float = 0.0
    checkpoint_every: int = 500
    log_every: int = 50
    look_every: int = 1000
    threads: int = 2
    bf16: bool = False
    lessons: int = 0


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """How the filter is served, see `models.filter_manifest`.

    Attributes:
        title: One line for a list; empty: as the pair maker says.
        source: "picture", "grey" or "lines": what the input is made of.
        region: "frame" or "face": what of the picture is drawn anew.
        height_px: Of what the engine draws.
        width_px: Likewise.
        weights: Licence of the weights, for the manifest.
        data: What they were trained on and its licence, for the manifest; a semicolon between two.
    """

    title: str = ""
    source: str = "picture"
    region: str = "frame"
    height_px: int = 256
    width_px: int = 256
    weights: str = AS_ITS_DATA
    data: str = SEE_THE_FOLDER


@dataclass(frozen=True, slots=True)
class Pix2PixConfig:
    """One run."""

    network: FilterNetworkConfig = field(default_factory=FilterNetworkConfig)
    pairs: PairDataConfig = field(default_factory=PairDataConfig)
    loss: FilterLossConfig = field(default_factory=FilterLossConfig)
    run: FilterRunConfig = field(default_factory=FilterRunConfig)
    served: ServedConfig = field(default_factory=ServedConfig)

    def check(self) -> None:
        """Hold what was asked for against itself.

        Raises:
            ConfigError: It does not fit.
        """
        self.pairs.check()
        check_gan(self.loss.gan)
        if self.loss.flicker and self.pairs.frames < 2:
            raise ConfigError("[loss] flicker looks at neighbouring views; set [pairs] frames = 2")
        if self.loss.features and not self.loss.judge:
            raise ConfigError("[loss] features are the judge's; set [loss] judge above 0")


@dataclass(slots=True)
class FilterTrainer:
    """Everything that changes while training; `shared` calls the networks with gradients averaged over processes.

    `eye` is frozen, and in no checkpoint; `processor_s` is the processor time of all steps so far.
    """

    config: Pix2PixConfig
    fabric: Fabric
    shared: dict[str, Any]
    generator: Filter
    averaged: Filter
    judge: PatchGan
    generator_adam: torch.optim.Adam
    judge_adam: torch.optim.Adam
    eye: EfficientNetLite0 | None
    step: int = 0
    processor_s: float = 0.0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        course = {"processor_s": self.processor_s, "config": dataclasses.asdict(self.config)}
        return parts_of(self, PARTS) | course

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: The checkpoint belongs to another network.
        """
        check_network(state, self.config.network)
        restore_parts(self, PARTS, state)
        self.processor_s = state.get("processor_s", 0.0)


def new_filter_trainer(config: Pix2PixConfig, fabric: Fabric | None = None) -> FilterTrainer:
    """Fresh networks, drawn from the run's seed, on the device of this process."""
    fabric = fabric or launched(bf16=config.run.bf16)
    torch.manual_seed(config.run.seed)
    generator, judge = new_filter(config.network), new_judge(config.network)
    channels_last(generator, judge)
    averaged = copy.deepcopy(generator).eval().requires_grad_(requires_grad=False)
    betas = (config.run.beta1, config.run.beta2)
    # What makes a network steady is learnt around it, and the network stays as it is.
    learning = generator.steadying if isinstance(generator, SteadyFilter) else generator
    generator.requires_grad_(requires_grad=learning is generator)
    learning.requires_grad_(requires_grad=True)
    generator_adam, judge_adam = (
        torch.optim.Adam(each.parameters(), config.run.learning_rate, betas, fused=True) for each in (learning, judge)
    )
    shared = {"generator": fabric.setup_module(generator), "judge": fabric.setup_module(judge)}
    shared["judge"].mark_forward_method("features")
    averaged.to(fabric.device)
    eye = load_efficientnet().to(fabric.device) if config.loss.perceptual else None
    return FilterTrainer(config, fabric, shared, generator, averaged, judge, generator_adam, judge_adam, eye)


def pairs_of(config: PairDataConfig, pairs: Path | None, photos: Sequence[Path]) -> tuple[PairSet, PairMaker]:
    """What a run learns from: a folder of pairs, or photos and the maker that the config names.

    Raises:
        ConfigError: Neither or both were given.
        MaterialError: Nothing in them can be used.
    """
    if (pairs is None) == (not photos):
        raise ConfigError("pass either --pairs FOLDER or --photos FOLDER ...")
    if pairs is not None:
        if config.maker:
            raise ConfigError(f"[pairs] maker = {config.maker!r} makes pairs of --photos, but --pairs was given")
        return read_pairs(pairs, config.direction), FROM_A_FOLDER
    if not config.maker:
        raise ConfigError("--photos need a pair maker: --maker NAME, or [pairs] maker in the config")
    maker = maker_named(config.maker)
    return read_photos(photos, maker), maker


def train_filter(
    config: Pix2PixConfig,
    pairs: PairSet,
    maker: PairMaker,
    run: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    start: Path | None = None,
    fabric: Fabric | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train from pairs in memory.

    Args:
        config: What to train.
        pairs: From `pairs_of`.
        maker: Spoils sources.
        run: Folder for log.jsonl, the checkpoint and contact sheets.
        resume: Go on from the run's checkpoint.
        stop_after: Stop at this step as if interrupted; the schedule stays that of `config`.
        start: Checkpoint of a run whose averaged generator a new run begins with.
        fabric: From `launched`, with the config's precision; default: one process, on a GPU where there is one.
        say: Takes one line for every file that was left out, and their number.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: The config does not fit itself, the run's folder or the checkpoint.
        MaterialError: Everything would be held back.
    """
    config.check()
    for each in pairs.left_out:
        say(f"left out: {each.name} {each.reason}")
    learnt, held = pairs.split(config.pairs.held_every)
    if not learnt.pairs:
        raise MaterialError("no pair is left to learn from; lower [pairs] held_every, or add pictures")
    say(f"{len(learnt.pairs)} pairs to learn from, {len(held.pairs)} held back, {len(pairs.left_out)} left out")
    checkpoint = begun(run, config.run.threads, resume=resume)
    trainer = new_filter_trainer(config, fabric)
    fabric = trainer.fabric
    sampler = PairSampler(learnt.pairs, maker, config.pairs, config.run.seed + fabric.global_rank * PROCESS_SEED_OFFSET)
    if resume and checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
    elif start is not None:
        begin_with(trainer, start)
    steps = steps_of(config.run, len(learnt.pairs))
    last = min(steps, stop_after or steps)
    began_s = time.perf_counter()
    with RunLog(run, silent=not fabric.is_global_zero) as log:
        while trainer.step < last:
            began_step_s = time.process_time()
            batch = sampler.batch(trainer.step, max(config.run.batch // fabric.world_size, 1))
            losses = filter_step(trainer, batch, learning_rate_of(trainer.step, steps, config.run))
            trainer.step += 1
            trainer.processor_s += time.process_time() - began_step_s
            if not fabric.is_global_zero:
                continue
            if trainer.step % config.run.log_every == 0:
                log.write({"step": trainer.step, "elapsed_s": time.perf_counter() - began_s, **losses})
            looked_at = bool(held.pairs) and trainer.step % config.run.look_every == 0
            kept = trainer.step % config.run.checkpoint_every == 0 or trainer.step == last
            if (looked_at or kept) and not config.run.ema_decay:
                trainer.averaged.load_state_dict(trainer.generator.state_dict())
            if looked_at:
                sheet = run / f"look_{trainer.step:06d}.jpg"
                log.write({"step": trainer.step, **glance(trainer.averaged, held, maker, config.pairs, sheet)})
            if kept:
                save_checkpoint(checkpoint, trainer.state())
    fabric.barrier()
    return checkpoint


def begin_with(trainer: FilterTrainer, checkpoint: Path) -> None:
    """Put a run's averaged generator in place of the drawn one; a memory that it did not have begins unheard.

    Raises:
        ConfigError: Missing or broken file, or another network.
    """
    known: dict[str, Tensor] = load_checkpoint(checkpoint)["averaged"]
    state = trainer.generator.state_dict()
    if isinstance(trainer.generator, SteadyFilter) and not any(name.startswith("steadying.") for name in known):
        known = {f"network.{name}": tensor for name, tensor in known.items()}
    for name, old in known.items():
        new = state.get(name)
        if new is None or new.shape[:1] != old.shape[:1] or (new.dim() > 1 and new.shape[1] < old.shape[1]):
            raise ConfigError(f"{checkpoint} holds another network: its {name} is {list(old.shape)}")
        if new.shape == old.shape:
            state[name] = old
        else:
            state[name] = torch.zeros_like(new)
            state[name][:, : old.shape[1]] = old
    for network in (trainer.generator, trainer.averaged):
        network.load_state_dict(state)


def steps_of(run: FilterRunConfig, pairs: int) -> int:
    """How many steps a run has."""
    return run.steps or max(run.epochs * pairs // run.batch, 1)


def learning_rate_of(step: int, steps: int, run: FilterRunConfig) -> float:
    """Constant, then in a line to 0, which would be reached one step after the last."""
    constant = round(run.constant_share * steps)
    return run.learning_rate * min(1.0, (steps - step) / max(steps - constant, 1))


def filter_step(trainer: FilterTrainer, batch: PairBatch, rate: float) -> dict[str, float]:
    """One step of the judge, then one of the generator; returns the losses."""
    source, target, places = onto(trainer.fabric, *batch)
    for adam in (trainer.generator_adam, trainer.judge_adam):
        set_learning_rate(adam, rate)
    with trainer.fabric.autocast():
        drawn = drawn_run(trainer.shared["generator"], source, memory=has_memory(trainer.generator))
    drawn = drawn.float()
    judged = trainer.config.loss.judge > 0
    judge = _judge_step(trainer, source, target, drawn.detach()) if judged else 0.0
    losses = generator_losses(trainer, source, target, drawn, places)
    weights = trainer.config.loss
    total = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
    trainer.generator_adam.zero_grad()
    trainer.fabric.backward(total)
    trainer.generator_adam.step()
    if trainer.config.run.ema_decay:
        average(trainer.averaged, trainer.generator, trainer.step, trainer.config.run.ema_decay)
    return {name: value.item() for name, value in losses.items()} | {"total": total.item(), "judge_loss": judge}


def generator_losses(
    trainer: FilterTrainer, source: Tensor, target: Tensor, drawn: Tensor, places: Tensor
) -> dict[str, Tensor]:
    """Each loss before its weight; pictures are [N, F, 3, S, S]. One whose weight is 0 is not computed."""
    weights = trainer.config.loss
    flat, wanted = drawn.flatten(0, 1), target.flatten(0, 1)
    losses = {"l1": (flat - wanted).abs().mean()}
    if weights.edges:
        losses["edges"] = gradient_loss(flat, wanted)
    if weights.flicker:
        losses["flicker"] = flicker_loss(drawn, target, places)
    if trainer.eye is not None:
        losses["perceptual"] = perceptual_loss(trainer.eye, *_same_square(flat, wanted, weights.perceptual_px))
    if not weights.judge:
        return losses
    trainer.judge.requires_grad_(requires_grad=False)
    with trainer.fabric.autocast():
        features = trainer.shared["judge"].features(source.flatten(0, 1), flat)
        if weights.features:
            with torch.no_grad():
                real = trainer.shared["judge"].features(source.flatten(0, 1), wanted)
            losses["features"] = feature_loss(features[:-1], real[:-1])
    trainer.judge.requires_grad_(requires_grad=True)
    return losses | {"judge": generator_loss(weights.gan, features[-1].float())}


def _same_square(drawn: Tensor, target: Tensor, side_px: int) -> tuple[Tensor, Tensor]:
    """One square of all pictures, anywhere; of side 0, the whole."""
    height, width = drawn.shape[2:]
    if not 0 < side_px < min(height, width):
        return drawn, target
    top, left = (int(torch.randint(each - side_px + 1, ())) for each in (height, width))
    inside = (..., slice(top, top + side_px), slice(left, left + side_px))
    return drawn[inside], target[inside]


def _judge_step(trainer: FilterTrainer, source: Tensor, target: Tensor, drawn: Tensor) -> float:
    condition = source.flatten(0, 1)
    judge = trainer.shared["judge"]
    # Batch norm must not see real and drawn pictures in one batch.
    on_drawn, on_real = judge(condition, drawn.flatten(0, 1)), judge(condition, target.flatten(0, 1))
    loss = judge_loss(trainer.config.loss.gan, on_real.float(), on_drawn.float())
    trainer.judge_adam.zero_grad()
    trainer.fabric.backward(loss)
    trainer.judge_adam.step()
    return loss.item()


def filter_of_run(checkpoint: Path) -> tuple[Filter, Pix2PixConfig, int]:
    """The averaged generator of a run, its config and its step.

    Raises:
        ConfigError: Missing or broken file.
    """
    state = load_checkpoint(checkpoint)
    config = build(Pix2PixConfig, state["config"], str(checkpoint))
    generator = new_filter(config.network)
    generator.load_state_dict(state["averaged"])
    return generator.eval(), config, state["step"]
