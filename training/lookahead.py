"""Look-ahead against quality: how well the mouth can be read from sound that ends soon after the picture.

The generator's sound encoder and a linear reading of opening and width are trained alone, from scratch, with the same
seeds, steps and sounds for each look-ahead, and read on clips that were never trained on. No picture is drawn: the
figures bound what a generator that hears so much could know, and are none of drawn mouths.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.mel import MelWindow
from models.lipgan import LipGanConfig, sound_encoder
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, restore_parts, save_checkpoint
from training.config import ConfigError, MixConfig, RunConfig
from training.data.cache import CachedClip, load_clips, load_speech
from training.data.sampler import Sampler
from training.gauge import gauge_loss
from training.glance import windows
from training.intervals import Figure, Interval, averaged, figure, over_clips, pearson
from training.loop import RunLog, average, calculate_with, learning_rate_at, set_learning_rate
from training.mouths import best_offset_ms, lagged

LOOK_AHEADS_MS = (0, 40, 80, 120, 200)
WIDTH = 0.5
"""Of the sound encoder, as in the shipped generator."""
SPLITS = {
    "held_clip": "held-back clips, persons trained on",
    "held_person": "held-back persons",
    "measured": "HDTF, natural speech, never trained on",
}
FIGURES = ("opening_r", "width_r", "offset_ms")
DIFFERENCES = {"opening_r": "opening_r_less", "width_r": "width_r_less"}
HEADINGS = {
    "opening_r": "r of the opening",
    "width_r": "r of the width",
    "offset_ms": "offset, ms",
    "opening_r_less": "opening, less {last} ms",
    "width_r_less": "width, less {last} ms",
}
MIN_FRAMES = 25
PARTS = ("network", "averaged", "adam")
TOLD = ("steps", "sound_batch", "learning_rate", "final_learning_rate", "warm_up_steps", "ema_decay")
RUN = RunConfig(
    steps=600,
    sound_batch=96,
    learning_rate=1e-3,
    final_learning_rate=3e-5,
    warm_up_steps=20,
    decay_from_step=0,
    ema_decay=0.99,
    checkpoint_every=50,
    threads=1,
)


Means = dict[str, dict[int, dict[str, Interval]]]
"""Split, look-ahead, figure."""


@dataclass(frozen=True, slots=True)
class Read:
    """A clip and how well it was read."""

    clip: CachedClip
    figures: dict[str, Figure]


@dataclass(slots=True)
class Ear:
    """What is trained for one look-ahead and one seed."""

    window: MelWindow
    network: nn.ModuleDict
    averaged: nn.ModuleDict
    adam: torch.optim.Adam
    step: int = 0

    def state(self, run: RunConfig) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        return {**parts, "step": self.step, "run": asdict(run), "window": asdict(self.window)}

    def restore(self, state: dict[str, Any], run: RunConfig) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: It belongs to another window, or was to be trained otherwise.
        """
        if (state["run"], state["window"]) != (asdict(run), asdict(self.window)):
            raise ConfigError("the folder holds ears that were trained otherwise; choose another --out")
        restore_parts(self, PARTS, state)


def look_ahead(
    cache: Path,
    out: Path,
    say: Callable[[str], None],
    *,
    run: RunConfig = RUN,
    seeds: Sequence[int] = (1,),
    look_aheads_ms: Sequence[int] = LOOK_AHEADS_MS,
) -> None:
    """Train and measure an ear for each look-ahead; write lookahead.json and lookahead.md.

    Args:
        cache: Folder written by `training.data.prepare`; of any crop size, no picture is looked at.
        out: Folder for the ears, their logs and the tables; what is there already is not trained again.
        say: Takes one line of progress.
        run: How long and how fast; `seed` is overruled by `seeds`.
        seeds: Each trains an ear of its own; figures are means over them.
        look_aheads_ms: The last is the one that the others are compared with.

    Raises:
        ConfigError: `out` holds ears that were trained otherwise.
        MaterialError: No usable cache.
    """
    clips, speech = load_clips(cache, {"train"}), load_speech(cache)
    held = [each for each in load_clips(cache, set(SPLITS)) if len(each.pts_ns) >= MIN_FRAMES]
    ears: dict[int, list[Ear]] = {ms: [] for ms in look_aheads_ms}
    for seed in seeds:
        for ms in look_aheads_ms:
            window = MelWindow.within(ms)
            sampler = Sampler(clips, None, MixConfig(), seed, speech=speech, window=window)
            ears[ms].append(train_ear(replace(run, seed=seed), sampler, window, out / f"{ms}ms_seed{seed}"))
            say(f"look-ahead {ms} ms, seed {seed}: {run.steps} steps")
    read = {ms: [Read(clip, figures_of(each, clip)) for clip in held] for ms, each in ears.items()}
    notes = {
        "what": "opening and width read linearly from the sound encoder's embedding; no picture is drawn",
        "run": {key: value for key, value in asdict(run).items() if key in TOLD},
        "seeds": list(seeds),
        "recordings": len(speech),
        "training_clips": len(clips),
        "held_clips": {split: sum(each.split == split for each in held) for split in SPLITS},
    }
    write_tables(out, notes, summarise(read))


def train_ear(run: RunConfig, sampler: Sampler, window: MelWindow, folder: Path) -> Ear:
    """Train one ear, or go on with the one that a folder holds.

    Args:
        run: Its `seed` draws the weights; the sampler has drawn the sounds.
        sampler: Made for the same window.
        window: What the ear hears.
        folder: For checkpoint and log.

    Raises:
        ConfigError: The folder holds another ear.
    """
    calculate_with(run.threads)
    folder.mkdir(parents=True, exist_ok=True)
    ear, checkpoint = new_ear(run, window), folder / CHECKPOINT_FILE
    if checkpoint.exists():
        ear.restore(load_checkpoint(checkpoint), run)
    with RunLog(folder) as log:
        while ear.step < run.steps:
            loss = ear_step(ear, run, sampler)
            ear.step += 1
            if ear.step % run.log_every == 0:
                log.write({"step": ear.step, "sound": loss})
            if ear.step % run.checkpoint_every == 0 or ear.step == run.steps:
                save_checkpoint(checkpoint, ear.state(run))
    return ear


def new_ear(run: RunConfig, window: MelWindow) -> Ear:
    """Fresh weights, drawn from the run's seed: the same for every window."""
    torch.manual_seed(run.seed)
    sound = sound_encoder(LipGanConfig(width=WIDTH))
    network = nn.ModuleDict({"sound": sound, "listener": nn.Linear(sound.out_channels, 2)})
    still = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    return Ear(window, network, still, torch.optim.Adam(network.parameters(), run.learning_rate))


def ear_step(ear: Ear, run: RunConfig, sampler: Sampler) -> float:
    """One step; returns the loss, in spreads of opening and width."""
    mel, mouth = (torch.from_numpy(each) for each in sampler.sounds(ear.step, run.sound_batch))
    set_learning_rate(ear.adam, learning_rate_at(ear.step, run))
    with torch.autocast("cpu", torch.bfloat16, enabled=run.bf16):
        embedding = ear.network["sound"](mel).flatten(1)
    loss = gauge_loss(ear.network["listener"](embedding.float()), mouth)
    ear.adam.zero_grad()
    torch.autograd.backward(loss)
    ear.adam.step()
    average(ear.averaged, ear.network, ear.step, run.ema_decay)
    return loss.item()


@torch.no_grad()
def reading(ear: Ear, clip: CachedClip) -> NDArray[np.float64]:
    """Opening and width of a clip as its sound says, [T, 2], in spreads."""
    heard = torch.from_numpy(windows(clip, clip.pts_ns, ear.window))
    return np.asarray(ear.averaged["listener"](ear.averaged["sound"](heard).flatten(1)).double().numpy())


def figures_of(ears: Sequence[Ear], clip: CachedClip) -> dict[str, Figure]:
    """`FIGURES` of one clip, means over ears that differ in their seed."""
    each = [_figures(reading(ear, clip), clip) for ear in ears]
    return {name: averaged([figures[name] for figures in each]) for name in FIGURES}


def _figures(read: NDArray[np.float64], clip: CachedClip) -> dict[str, Figure]:
    opening, width = read.T
    return {
        "opening_r": figure(np.stack([opening, clip.opening], -1), pearson),
        "width_r": figure(np.stack([width, clip.width], -1), pearson),
        "offset_ms": figure(lagged(opening, clip.opening, clip.pts_ns), pearson, best_offset_ms),
    }


def summarise(read: Mapping[int, Sequence[Read]]) -> Means:
    """Means over the clips of each split, and how far the correlations are from those of the last look-ahead.

    The same frames and clips are drawn again for each look-ahead, so the differences' intervals are of pairs.
    """
    last = read[list(read)[-1]]
    means: Means = {}
    for split in dict.fromkeys(each.clip.split for each in last):
        for ms, clips in read.items():
            pairs = [(a, b) for a, b in zip(clips, last, strict=True) if a.clip.split == split]
            row = {name: over_clips([a.figures[name] for a, _ in pairs]) for name in FIGURES}
            for name in DIFFERENCES:
                row[DIFFERENCES[name]] = over_clips([_less(a.figures[name], b.figures[name]) for a, b in pairs])
            means.setdefault(split, {})[ms] = row
    return means


def _less(a: Figure, b: Figure) -> Figure:
    return Figure(a.curve - b.curve, a.resampled - b.resampled, a.read)


def write_tables(out: Path, notes: Mapping[str, object], means: Means) -> None:
    """Write lookahead.json and lookahead.md."""
    figures = {
        split: {ms: {k: v._asdict() for k, v in row.items()} for ms, row in rows.items()}
        for split, rows in means.items()
    }
    (out / "lookahead.json").write_text(json.dumps({**notes, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    lines = [line for split, rows in means.items() for line in _table(split, rows)]
    (out / "lookahead.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(split: str, rows: Mapping[int, Mapping[str, Interval]]) -> list[str]:
    last = list(rows)[-1]
    heads = [HEADINGS[name].format(last=last) for name in rows[last]]
    lines = [f"**{SPLITS[split]}**", "", "| look-ahead, ms | heard, ms | " + " | ".join(heads) + " |"]
    lines.append("|" + " - |" * (len(heads) + 2))
    for ms, row in rows.items():
        heard_ms = MelWindow.within(ms).look_ahead_ns / 1e6
        cells = [_cell(name, value) for name, value in row.items()]
        lines.append(f"| {ms} | {heard_ms:g} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cell(name: str, interval: Interval) -> str:
    decimals = 0 if name == "offset_ms" else 2
    value, low, high = (f"{each:.{decimals}f}" for each in interval)
    return f"{value} [{low}, {high}]"
