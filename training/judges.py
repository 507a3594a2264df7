"""The networks that an evaluation measures with; none took part in the training of what it measures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.catalogue import WEIGHTS
from models.landmarks import LandmarkNetworks
from models.sync_expert import SyncExpert, load_expert
from training.config import ConfigError
from training.data.clips import read_sound
from training.data.split import read_clips
from training.own_identity import SHIPPED_WEIGHTS, OwnIdentity, load_identity
from training.standard.fid import Inception, load_inception
from training.standard.lpips import Lpips, load_lpips
from training.standard.lse import SyncNet, load_syncnet
from training.sync_report import EXPERT_FILE

SHIPPED_EXPERT = WEIGHTS / "expert" / EXPERT_FILE


@dataclass(frozen=True, slots=True)
class Judges:
    """Who measures; None measures nothing.

    Attributes:
        landmarks: Read where the lips are.
        expert: The own sync expert.
        identity: The own identity network.
        lpips: Of the standard LPIPS.
        inception: Of the standard FID.
        syncnet: Of the standard LSE-C and LSE-D.
        sounds: What that one hears, by clip: float32 [n] at 16 kHz, on the clip's time line.
    """

    landmarks: LandmarkNetworks
    expert: SyncExpert | None = None
    identity: OwnIdentity | None = None
    lpips: Lpips | None = None
    inception: Inception | None = None
    syncnet: SyncNet | None = None
    sounds: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> list[str]:
        """What is not measured."""
        absent = {
            "own sync expert": self.expert,
            "own identity similarity": self.identity,
            "LPIPS": self.lpips,
            "FID": self.inception,
            "LSE-C and LSE-D": self.syncnet,
        }
        return [name for name, judge in absent.items() if judge is None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose judges."""
    shipped = SHIPPED_EXPERT if SHIPPED_EXPERT.is_file() else None
    parser.add_argument(
        "--expert", type=Path, default=shipped, help="own sync expert; default: the shipped one, if any"
    )
    standard = parser.add_argument_group("standard measures", "each needs the standard's own files")
    standard.add_argument("--lpips-weights", type=Path, nargs=2, metavar=("ALEXNET", "LINEAR"), help="for LPIPS")
    standard.add_argument("--fid-weights", type=Path, metavar="INCEPTION", help="for FID")
    standard.add_argument("--syncnet-weights", type=Path, metavar="SYNCNET", help="for LSE-C and LSE-D")
    standard.add_argument("--material", type=Path, help="folder of the clips, whose sound LSE-C and LSE-D hear")


def judges_of(parsed: argparse.Namespace) -> Judges:
    """Open what the options name.

    Raises:
        ConfigError: A standard's file is missing or another, or there is no sound for it.
        EngineError: An own network's file is missing or another.
        MaterialError: A clip cannot be read.
    """
    return Judges(
        landmarks=LandmarkNetworks(threads=1),
        expert=load_expert(parsed.expert) if parsed.expert else None,
        identity=load_identity(SHIPPED_WEIGHTS),
        lpips=load_lpips(*parsed.lpips_weights) if parsed.lpips_weights else None,
        inception=load_inception(parsed.fid_weights) if parsed.fid_weights else None,
        syncnet=load_syncnet(parsed.syncnet_weights) if parsed.syncnet_weights else None,
        sounds=_sounds(parsed.material) if parsed.syncnet_weights else {},
    )


def _sounds(material: Path | None) -> dict[str, NDArray[np.float32]]:
    if material is None:
        raise ConfigError("LSE-C and LSE-D hear samples, which a cache does not hold: pass --material FOLDER as well")
    return {each.name: read_sound(each.path)[0] for each in read_clips(material) if each.split != "train"}
