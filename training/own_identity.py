"""Is it still the same person's mouth? A small embedding of lower faces, and how well it tells persons apart.

It is trained on moving portraits (public domain): two looks of one portrait, in two mouth poses, belong together, any
other portrait does not. Only mouth, chin and cheeks are shown, for what nobody changed would look like anybody's
success. It is this project's own: its similarities are of no other scale than its own, and no published identity
score.

Source: T. Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020 (the loss).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.catalogue import WEIGHTS
from models.checkpoint import NOTES, read_weights, write_weights
from models.engine import EngineError
from training.data.augment import apply_look, draw_look
from training.data.cache import CachedClip, CachedPortraits, inner, load_clips, load_portraits, size_of
from training.data.clips import MaterialError
from training.loop import average, learning_rate_at, set_learning_rate

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]

SEEN = ((0.42, 0.98), (0.2, 0.8))
"""Rows and columns that it sees, as shares of the crop's side: nose base to chin, without hair."""
READ_PX = 48
EMBEDDING = 64
WIDTHS = (24, 48, 96, 128)
WEIGHTS_FILE = "own_identity.safetensors"
FIGURES_FILE = "verification.json"
SHIPPED_WEIGHTS = WEIGHTS / "own_identity" / WEIGHTS_FILE
FRAMES_PER_CLIP = 20
TEMPERATURE = 0.1
SOFTENED_SHARE = 0.4
SOFTEST_PX = 16
# Deviations of stretch and shear: what a turned head does to a lower face, roughly. And of light from one side.
STRETCH, SHEAR, SHIFT_PX, SIDE_LIGHT = 0.07, 0.06, 1.5, 0.2
_FAMILY = "own_identity"
_GROUPS = 8


@dataclass(frozen=True, slots=True)
class IdentityRun:
    """How long and how fast; the learning rate falls from half of the steps on.

    Attributes:
        seed: Decides weights, batches and which portraits are held back.
        steps: Optimiser steps.
        persons: Per step, two looks of each.
        learning_rate: Adam's.
        final_learning_rate: At the last step.
        warm_up_steps: Linear ramp at the start.
        ema_decay: Of the averaged weights, which are the ones that are kept.
        held_portraits: Not trained on; the threshold is set on them.
    """

    seed: int = 2015
    steps: int = 1_000
    persons: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 2e-5
    warm_up_steps: int = 50
    ema_decay: float = 0.995
    held_portraits: int = 60

    @property
    def decay_from_step(self) -> int:
        """See `training.loop.Course`."""
        return self.steps // 2


class OwnIdentity(nn.Module):
    """Puts lower faces [N, 3, 48, 48] in [0, 1] on the unit sphere [N, 64].

    Attributes:
        threshold: Similarity from which two pictures count as one person; set by `train_identity`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers = (
            (nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(_GROUPS, b), nn.ReLU(), nn.Conv2d(b, b, 3, 1, 1, groups=_GROUPS))
            for a, b in itertools.pairwise((3, *WIDTHS))
        )
        self.convs = nn.Sequential(*(each for row in layers for each in (*row, nn.ReLU())))
        self.head = nn.Linear(WIDTHS[-1] * (READ_PX // 16) ** 2, EMBEDDING)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed."""
        features = self.convs(pictures - 0.5).flatten(1)
        return nn.functional.normalize(self.head(features), dim=1)


def lower_face(crop: Pictures) -> Pictures:
    """What the network sees of a crop [S, S, 3]; uint8 [48, 48, 3]."""
    side = crop.shape[0]
    (top, bottom), (left, right) = SEEN
    part = crop[round(top * side) : round(bottom * side), round(left * side) : round(right * side)]
    return np.asarray(cv2.resize(part, (READ_PX, READ_PX), interpolation=cv2.INTER_AREA), np.uint8)


@torch.no_grad()
def embed(network: OwnIdentity, crops: Pictures) -> Floats:
    """Embed crops uint8 RGB [T, S, S, 3]; float32 [T, 64]."""
    return np.asarray(network(_tensor([lower_face(each) for each in crops])).numpy())


def likeness(network: OwnIdentity, crops: Pictures, real: Pictures) -> Floats:
    """Similarity of each crop [T, S, S, 3] to the mean of a person's real ones, [T] in [-1, 1]."""
    middle = embed(network, real).mean(0)
    return np.asarray(embed(network, crops) @ (middle / np.sqrt(np.square(middle).sum())))


def train_identity(cache: Path, out: Path, say: Callable[[str], None], run: IdentityRun = IdentityRun()) -> Path:
    """Train on a cache's portraits, verify on portraits held back and on clips, and write weights and figures.

    Raises:
        MaterialError: The cache has no portraits.
    """
    portraits = load_portraits(cache)
    if portraits is None:
        raise MaterialError(f"{cache} has no portraits to learn persons from; prepare it with a portraits folder")
    torch.manual_seed(run.seed)
    order = np.random.default_rng(run.seed).permutation(len(portraits.names))
    held, taught = order[: run.held_portraits], order[run.held_portraits :]
    network = _fitted(portraits, taught, run, say)
    looks = _held_looks(portraits, held, run.seed)
    network.threshold.copy_(torch.tensor(best_threshold(*pairs_of(embed_faces(network, looks[0]), looks[1]))))
    figures = verify(network, looks, load_clips(cache, {"train", "held_clip", "held_person", "measured"}))
    out.mkdir(parents=True, exist_ok=True)
    notes = {"steps": run.steps, "seed": run.seed, "portraits": len(taught), **figures}
    header = {_FAMILY: json.dumps({}), NOTES: json.dumps(notes)}
    write_weights(out / WEIGHTS_FILE, network.state_dict(), header)
    (out / FIGURES_FILE).write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    say(json.dumps(figures))
    return out / WEIGHTS_FILE


def load_identity(path: Path) -> OwnIdentity:
    """Rebuild the network, frozen.

    Raises:
        EngineError: The file is missing, damaged, or belongs to another network.
    """
    header, tensors = read_weights(path)
    if _FAMILY not in header:
        raise EngineError(f"{path} holds no identity network. Train one: python -m training identity")
    network = OwnIdentity()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise EngineError(f"{path} does not fit this version: {error}. Train it again") from None
    return network.requires_grad_(requires_grad=False).eval()


# -- training -----------------------------------------------------------------------------------------


def _fitted(
    portraits: CachedPortraits, taught: NDArray[np.intp], run: IdentityRun, say: Callable[[str], None]
) -> OwnIdentity:
    network, averaged = OwnIdentity(), OwnIdentity()
    averaged.load_state_dict(network.state_dict())
    averaged.eval().requires_grad_(requires_grad=False)
    adam = torch.optim.Adam(network.parameters(), run.learning_rate)
    for step in range(run.steps):
        rng = np.random.default_rng([run.seed, step])
        persons = rng.choice(taught, min(run.persons, len(taught)), replace=False)
        views = [[_look(portraits, person, rng) for person in persons] for _ in range(2)]
        set_learning_rate(adam, learning_rate_at(step, run))
        first, second = network(_tensor(views[0] + views[1])).chunk(2)
        loss = choice_loss(first, second)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        average(averaged, network, step, run.ema_decay)
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}: loss {loss.item():.3f}")
    return averaged


def choice_loss(first: Tensor, second: Tensor) -> Tensor:
    """Cross-entropy of finding each picture's person among all others of the batch; [N, 64] each."""
    both = torch.cat([first, second])
    similar = (both @ both.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return nn.functional.cross_entropy(similar, torch.arange(len(both)).roll(len(first)))


def _look(portraits: CachedPortraits, person: np.intp, rng: np.random.Generator) -> Pictures:
    """One portrait in any mouth pose, by any camera; for a share softened, as drawn mouths are."""
    crop = portraits.crops[person, rng.integers(portraits.crops.shape[1])]
    face = _turned(lower_face(apply_look(np.asarray(crop), draw_look(rng), size_of(portraits.crops))), rng)
    if rng.random() < SOFTENED_SHARE:
        side = int(rng.integers(SOFTEST_PX, READ_PX))
        small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(small, (READ_PX, READ_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    return face


def _turned(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Stretched, sheared and lit from a side, as if the head had turned."""
    linear = np.eye(2) + rng.normal(0, [[STRETCH, SHEAR], [SHEAR, STRETCH]])
    middle = (READ_PX - 1) / 2
    shift = middle - linear @ (middle, middle) + rng.normal(0, SHIFT_PX, 2)
    size = (READ_PX, READ_PX)
    warped = cv2.warpAffine(face, np.column_stack([linear, shift]), size, borderMode=cv2.BORDER_REPLICATE)
    light = 1 + rng.normal(0, SIDE_LIGHT) * np.linspace(-1, 1, READ_PX)[:, None]
    return np.asarray((warped * light).clip(0, 255), np.uint8)


def _tensor(faces: Sequence[Pictures]) -> Tensor:
    return torch.from_numpy(np.stack(faces).transpose(0, 3, 1, 2).astype(np.float32) / 255)


# -- verification -------------------------------------------------------------------------------------


def verify(
    network: OwnIdentity, looks: tuple[list[Pictures], NDArray[np.str_]], clips: Sequence[CachedClip]
) -> dict[str, float]:
    """How often two pictures are rightly told to show one person or two.

    Returns:
        threshold; for the portraits held back, the clips of GRID, of HDTF and of all: "accuracy" at that threshold
        (pairs of one person and of two count alike), "best", the accuracy at the material's own best threshold, and
        "area", the chance that a pair of one person is more alike
        than a pair of two. Of one clip, pictures at least a third of it apart make pairs.
    """
    found = _scored(network, looks[0], looks[1], "portraits")
    for kind, beginning in {"grid": "grid", "hdtf": "hdtf", "clips": ""}.items():
        of_kind = [each for each in clips if each.name.startswith(beginning)]
        if len({each.person for each in of_kind}) > 1:
            faces, persons, places = _of_clips(of_kind)
            found |= _scored(network, faces, persons, kind, places)
    return {"threshold": round(float(network.threshold), 4), **found}


def pairs_of(
    embeddings: Floats, persons: NDArray[np.str_], places: Floats | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Similarities of all pairs, and whether each is of one person; neighbouring places make no pair."""
    rows, columns = np.triu_indices(len(persons), 1)
    same = persons[rows] == persons[columns]
    if places is not None:
        apart = ~same | (np.abs(places[rows] - places[columns]) >= 1 / 3)
        rows, columns, same = rows[apart], columns[apart], same[apart]
    return np.asarray((embeddings[rows] * embeddings[columns]).sum(1)), np.asarray(same)


def best_threshold(similar: Floats, same: NDArray[np.bool_]) -> float:
    """The similarity that parts pairs of one person from pairs of two with the fewest errors, both kinds alike."""
    levels = np.quantile(similar, np.linspace(0, 1, 501))
    return float(levels[int(np.argmax([_accuracy(similar, same, float(each)) for each in levels]))])


def embed_faces(network: OwnIdentity, faces: Sequence[Pictures]) -> Floats:
    """Embed what `lower_face` gave."""
    with torch.no_grad():
        return np.asarray(network(_tensor(faces)).numpy())


def _accuracy(similar: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(((similar[same] >= threshold).mean() + (similar[~same] < threshold).mean()) / 2)


def _scored(
    network: OwnIdentity, faces: Sequence[Pictures], persons: NDArray[np.str_], kind: str, places: Floats | None = None
) -> dict[str, float]:
    similar, same = pairs_of(embed_faces(network, faces), persons, places)
    ranks = np.empty(len(similar))
    ranks[np.argsort(similar)] = np.arange(1, len(similar) + 1)
    ones, others = int(same.sum()), int((~same).sum())
    area = (ranks[same].sum() - ones * (ones + 1) / 2) / max(ones * others, 1)
    accuracy = _accuracy(similar, same, float(network.threshold))
    best = _accuracy(similar, same, best_threshold(similar, same))
    figures = {"accuracy": accuracy, "best": best, "area": float(area)}
    return {f"{kind}_{key}": round(each, 4) for key, each in figures.items()}


def _held_looks(
    portraits: CachedPortraits, held: NDArray[np.intp], seed: int
) -> tuple[list[Pictures], NDArray[np.str_]]:
    """Six looks of each portrait that was held back, and whose they are."""
    rng = np.random.default_rng([seed, 1])
    persons = np.repeat(held, 6)
    return [_look(portraits, each, rng) for each in persons], persons.astype(np.str_)


def _of_clips(clips: Sequence[CachedClip]) -> tuple[list[Pictures], NDArray[np.str_], Floats]:
    """Pictures of clips, whose they are, and where in the clip, 0 to 1; other clips are far away."""
    faces: list[Pictures] = []
    rows: list[tuple[str, float]] = []
    for number, clip in enumerate(clips):
        for index in np.linspace(0, len(clip.crops) - 1, FRAMES_PER_CLIP).astype(int):
            faces.append(lower_face(inner(clip.crops[index])))
            rows.append((clip.person, 10.0 * number + index / len(clip.crops)))
    return faces, np.array([each[0] for each in rows]), np.array([each[1] for each in rows], np.float32)
