"""What a training run is asked to do: TOML files read into frozen dataclasses.

Defaults live in the dataclasses and nowhere else; a key that no dataclass knows is refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

T = typing.TypeVar("T")
CONFIG_FOLDER = Path(__file__).parent / "configs"


class ConfigError(Exception):
    """The operator asked for something that cannot be: the message says what, and the remedy."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The generator and its judges.

    Attributes:
        variant: "basic" or "residual" (LipGAN's two generators), or "lite" (`models.lipgan_lite`).
        front_end: "mel" (80 x 27); the MFCC front end has no training data path.
        width: Channel multiplier of the generator; 1 is the published size. Of "lite": of its sound encoder only.
        discriminator_width: Channel multiplier of the sync discriminator.
        size: "s", "m" or "l", of "lite" only.
        crop_px: Side of the crop; LipGAN's is 96.
        look_ahead_ms: How much sound after a picture's time "lite" may hear; LipGAN's window is that of 188.
        ear: Of "lite": "lipgan", or "speech" (`models.speech_ear`), whose layers `training.ear` trains.
    """

    variant: str = "basic"
    front_end: str = "mel"
    width: float = 0.5
    discriminator_width: float = 0.25
    size: str = "m"
    crop_px: int = 96
    look_ahead_ms: int = 188
    ear: str = "lipgan"


@dataclass(frozen=True, slots=True)
class MixConfig:
    """Which share of a batch comes from where; what is left over is real clips.

    Attributes:
        portrait_share: Moving portraits with the sound of a recording or a real clip.
        voiced_share: Real frames with the sound of a recording that their mouth fits.
        heads_share: Synthetic heads with the recording that they were made to say; none where the cache has no heads.
        speech_share: Of the sounds that move portraits and teach the sound encoder, those of recordings; with them
            and with real frames none where the cache has no recordings.
        silence_share: Closed mouths with silence or room noise.
        closure_share: Of the moments drawn from a recording, those with p, b or m; of the frames drawn from a clip,
            those with the mouth closed. Lips meet so shortly that a mean of what a sound may mean leaves them open.
        picture_augment: Flip, colour, blur, shift and JPEG on the pictures.
        mel_augment: Gain, equaliser, noise, formant shift, tempo and masks on the mel windows.
        contrary_share: Samples whose identity is drawn in proportion to how far its mouth is from the target's:
            without them the drawn mouth leans on the identity's, which at inference is the one to be replaced.
        min_identity_distance: Frames between identity and target in one clip (LipGAN: 6).
    """

    portrait_share: float = 0.3
    voiced_share: float = 0.28
    heads_share: float = 0.0
    speech_share: float = 0.65
    silence_share: float = 0.12
    closure_share: float = 0.0
    picture_augment: bool = True
    mel_augment: bool = True
    contrary_share: float = 0.6
    min_identity_distance: int = 6


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the generator's losses.

    Attributes:
        l1: Mean absolute error over the whole picture (LipGAN: 1).
        mouth_l1: Extra mean absolute error over the mouth box.
        sync: Contrastive loss of the sync discriminator on generated pictures (LipGAN: 0.01).
        sync_from_step: Before it, no discriminator: LipGAN's `train_unet.py` comes before its `train.py`.
        sound: Error of a linear reading of the mouth from the sound embedding, on windows of their own: the sound
            encoder learns what matters long before pictures are sharp.
        gauge: Error of the mouth gauge's reading (opening, width) of the generated picture.
        edges: Mean absolute error of the differences of neighbouring pixels in the mouth box.
        moved: Coarse error of what "lite" has moved, before it paints.
        mixed: Total variation of the shares that "lite" mixes its sources by: edges may be sharp, but not beaded.
        quality: Score and features of the quality judge.
        quality_from_step: Before it, no quality judge: it would find every picture drawn.
        expert: 1 - similarity of drawn lips and sound by the frozen sync expert, which needs `frames = 5`.
        steady: Error of the differences between neighbouring pictures in the mouth box, likewise.
    """

    l1: float = 1.0
    mouth_l1: float = 1.0
    sync: float = 0.01
    sync_from_step: int = 0
    gauge: float = 0.03
    sound: float = 0.1
    edges: float = 0.0
    moved: float = 0.5
    mixed: float = 0.0
    quality: float = 0.0
    quality_from_step: int = 0
    expert: float = 0.0
    steady: float = 0.0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How long and how fast.

    Attributes:
        seed: Decides weights and batches.
        steps: Optimiser steps of the generator.
        batch: Pictures per step.
        frames: 1: pictures are drawn by themselves. 5: in runs of five neighbours, as the sync expert looks at.
        sound_batch: Mel windows per step for the linear reading.
        learning_rate: Adam's, for generator and discriminator.
        final_learning_rate: Reached at the last step, by cosine from `decay_from_step` on.
        warm_up_steps: Linear ramp at the start.
        decay_from_step: First step of the cosine.
        ema_decay: Of the averaged weights, which are the ones that ship.
        gauge_steps: Steps that train the mouth gauge before the generator starts.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
        look_every: Steps between held-back measurements and contact sheets.
        threads: Torch threads.
        bf16: Autocast the convolutions to bfloat16.
    """

    seed: int = 2019
    steps: int = 20_000
    batch: int = 32
    frames: int = 1
    sound_batch: int = 32
    learning_rate: float = 5e-4
    final_learning_rate: float = 5e-5
    warm_up_steps: int = 100
    decay_from_step: int = 10_000
    ema_decay: float = 0.998
    gauge_steps: int = 800
    checkpoint_every: int = 500
    log_every: int = 50
    look_every: int = 500
    threads: int = 2
    bf16: bool = True


@dataclass(frozen=True, slots=True)
class LipganConfig:
    """One LipGAN run."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)


def load_config(name_or_path: str) -> LipganConfig:
    """Read the config of a LipGAN run; see `read_config`."""
    return read_config(LipganConfig, name_or_path)


def read_config(kind: type[T], name_or_path: str) -> T:
    """Read a config by name (`training/configs/<name>.toml`) or by path.

    Raises:
        ConfigError: No such file, not TOML, an unknown key, or a value of the wrong type.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = CONFIG_FOLDER / f"{name_or_path}.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(each.stem for each in CONFIG_FOLDER.glob("*.toml") if each.stem != "clips"))
        raise ConfigError(f"no config {path}; known by name: {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return build(kind, tables, str(path))


def build(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """Make a config dataclass from a TOML table, refusing what it does not know.

    Raises:
        ConfigError: Unknown key (names the nearest known one) or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {near!r}?")
        values[key] = _checked(hints[key], value, f"{where}: {key}")
    return kind(**values)


def as_dict(config: LipganConfig) -> dict[str, Any]:
    """The whole config as plain tables, for logs, checkpoints and cards."""
    return dataclasses.asdict(config)


def _checked(hint: type, value: object, where: str) -> object:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, found {value!r}")
        return build(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} must be {hint.__name__}, found {value!r}")
    return value
