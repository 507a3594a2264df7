"""What is measured of drawn persons who should not exist: do they do what the layout says, and are they anybody?

Landmarks are read from what was drawn by the networks that serve faces, and held against those of the photo that
belongs to the layout. Likeness is the own identity network's (`training.own_identity`), whose similarities are of its
own scale: what a drawn person has at most in common with a portrait stands beside what real persons have at most in
common with each other. Without a checkpoint the likeness of the photos is measured, before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.crop import crop_transform
from models.landmarks import LandmarkNetworks
from training.config import ConfigError
from training.data.blends import opening_of
from training.data.layout_pairs import LayoutSet, appearance_of, held_layout, one_hot
from training.data.pair_batches import as_levels
from training.data.portrait_layouts import read_portraits
from training.filter_glance import write_sheet
from training.oasis import OasisTraining, batches_of, in_colours, noise_of, oasis_of_run
from training.oasis_losses import settle_statistics
from training.own_identity import OwnIdentity, embed

Rgb = NDArray[np.uint8]
Points = NDArray[np.float32]
Floats = NDArray[np.float32]

CROP_PX = 96
SHOWN = 16
# Upper and lower lid in the middle, outer and inner corner, of both eyes.
_EYES = ((159, 145, 33, 133), (386, 374, 263, 362))


@dataclass(frozen=True, slots=True)
class Shown:
    """A layout that was held back.

    Attributes:
        appearance: Who is to be drawn.
        photo: uint8 RGB, what belongs to the layout.
        drawn: uint8 RGB; the photo itself where nothing draws.
        ids: The layout.
    """

    appearance: int
    photo: Rgb
    drawn: Rgb
    ids: Rgb


def evaluate_portraits(
    pairs: LayoutSet,
    config: OasisTraining,
    portraits: Path,
    identity: OwnIdentity,
    out: Path,
    say: Callable[[str], None],
    *,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Measure held-back layouts and write `portraits.json` and a sheet.

    Args:
        pairs: From `training.data.portrait_layouts`.
        config: Says how many appearances there are and who is held back; a checkpoint's own takes its place.
        portraits: The photographs that are blended.
        identity: Tells persons apart.
        out: Folder.
        say: Takes one line of progress.
        checkpoint: Of a run; None measures the photos.

    Raises:
        ConfigError: Nobody is held back, or there are no appearances.
        MaterialError: There are no portraits.
    """
    shown = list(_shown(pairs, config, checkpoint))
    if not shown or not config.layouts.appearances:
        raise ConfigError("nothing to measure: set [layouts] held_every and appearances in the config")
    networks = LandmarkNetworks(precision="f32")
    real = read_portraits(portraits, networks, say)
    crops = [_crop(each.picture, each.points[:, :2]) for each in real.values()]
    read = [(each, found_in(each.photo, networks), found_in(each.drawn, networks)) for each in shown]
    figures: dict[str, Any] = {
        "drawn_by": "the photos themselves" if checkpoint is None else str(checkpoint.parent.name),
        "layouts": len(shown),
        "psnr_db": None if checkpoint is None else _psnr_db(shown),
        "no_face_drawn": sum(points is None for _, _, points in read),
        "mouth": None if checkpoint is None else _followed(read, opening_of),
        "eyes": None if checkpoint is None else _followed(read, lids_of),
        "likeness": likenesses(
            identity,
            {
                k: [_crop(e.drawn, b) for e, _, b in read if e.appearance == k and b is not None]
                for k in range(config.layouts.appearances)
            },
            crops,
        ),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "portraits.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    chosen = [shown[i] for i in np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)]
    write_sheet(out / "portraits.jpg", [[in_colours(each.ids), each.drawn, each.photo] for each in chosen])
    return figures


def likenesses(
    identity: OwnIdentity, drawn: Mapping[int, Sequence[Rgb]], real: Sequence[Rgb]
) -> dict[str, dict[str, float] | list[float]]:
    """How like the nearest portrait each appearance is, and how like the nearest other portrait real persons are.

    Args:
        identity: The network.
        drawn: Crops of each appearance.
        real: One crop of each person.

    Returns:
        "appearances": the largest similarity of each one's mean to a portrait. "persons": quantiles of the same between
        portraits of different persons. "share_nearer": of real persons, how many are nearer to another real one than
        the nearest appearance is to anybody.
    """
    of_real = embed(identity, np.stack(real))
    between = of_real @ of_real.T
    np.fill_diagonal(between, -1.0)
    nearest = between.max(1)
    means = [embed(identity, np.stack(crops)).mean(0) for crops in drawn.values() if len(crops)]
    found = [float((of_real @ (mean / np.linalg.norm(mean))).max()) for mean in means]
    levels = {f"p{q:02d}": float(np.quantile(nearest, q / 100)) for q in (5, 25, 50, 75, 95)}
    return {
        "appearances": [round(each, 3) for each in found],
        "persons": {name: round(value, 3) for name, value in levels.items()},
        "share_nearer": [round(float((nearest > each).mean()), 3) for each in found],
    }


def found_in(picture: Rgb, networks: LandmarkNetworks) -> Points | None:
    """Landmarks [478, 2] of the face in a picture, or None."""
    meshes = networks.find(picture)
    return np.ascontiguousarray(meshes[0].points[:, :2]) if meshes else None


def lids_of(points: Points) -> float:
    """Mean gap of the lids over the width of an eye."""
    gaps = [np.linalg.norm(points[a] - points[b]) / np.linalg.norm(points[c] - points[d]) for a, b, c, d in _EYES]
    return float(np.mean(gaps))


def _shown(pairs: LayoutSet, config: OasisTraining, checkpoint: Path | None) -> Iterator[Shown]:
    draw: Callable[[Tensor, int], Rgb] | None = None
    if checkpoint is not None:
        draw = _drawer(pairs, checkpoint)
    _, held = pairs.split(config.layouts.held_every)
    for name, pair in zip(held.names, held.pairs, strict=True):
        ids, photo = held_layout(pair, config.layouts)
        appearance = appearance_of(name, config.layouts.appearances)
        layout = torch.from_numpy(one_hot(ids, config.layouts.classes))[None]
        yield Shown(appearance, photo, photo if draw is None else draw(layout, appearance), ids)


def _drawer(pairs: LayoutSet, checkpoint: Path) -> Callable[[Tensor, int], Rgb]:
    """What a run draws, with its statistics settled as an export has them."""
    network, config, _ = oasis_of_run(checkpoint)
    noises = noise_of(config)
    if noises is None:
        raise ConfigError(f"{checkpoint} was trained without [layouts] appearances")
    settle_statistics(network, batches_of(pairs.split(config.layouts.held_every)[0], config))

    @torch.no_grad()
    def draw(layout: Tensor, appearance: int) -> Rgb:
        return as_levels(network(layout, noises[appearance : appearance + 1])[0].numpy())

    return draw


def _followed(
    read: Sequence[tuple[Shown, Points | None, Points | None]], measure: Callable[[Points], float]
) -> dict[str, float]:
    """How what is measured of the photos and of the drawn pictures goes together, where both show a face."""
    both = [(measure(photo), measure(drawn)) for _, photo, drawn in read if photo is not None and drawn is not None]
    wanted, drawn = np.array(both).reshape(-1, 2).T
    return {
        "r": round(float(np.corrcoef(wanted, drawn)[0, 1]), 3),
        "mean_error": round(float(np.abs(wanted - drawn).mean()), 4),
        "deviation": round(float(wanted.std()), 4),
    }


def _psnr_db(shown: Sequence[Shown]) -> float:
    errors = [np.square(each.photo.astype(np.float64) - each.drawn).mean() for each in shown]
    return round(float(np.mean(10 * np.log10(255**2 / np.array(errors)))), 2)


def _crop(picture: Rgb, landmarks: Points) -> Rgb:
    to_crop = crop_transform(np.ascontiguousarray(landmarks), CROP_PX)
    shape = (CROP_PX, CROP_PX)
    return np.asarray(cv2.warpAffine(picture, to_crop, shape, borderMode=cv2.BORDER_REPLICATE), np.uint8)
