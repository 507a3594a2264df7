"""The identity network: it learns to tell faces apart, its figures are what they are called, and files are checked."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from models.checkpoint import write_weights
from models.engine import EngineError
from tests.training.made import SIDE, made_clip
from training.data.cache import CachedPortraits, inner, save_clip, save_split
from training.data.clips import MaterialError
from training.own_identity import (
    FIGURES_FILE,
    READ_PX,
    IdentityRun,
    OwnIdentity,
    best_threshold,
    choice_loss,
    likeness,
    load_identity,
    lower_face,
    pairs_of,
    train_identity,
)

pytestmark = pytest.mark.unit

RUN = IdentityRun(seed=1, steps=25, persons=8, held_portraits=4)


def _cache(folder: Path, persons: int = 14) -> Path:
    """Portraits that differ in coarse blotches, and clips of two persons."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 220, (persons, 1, 7, 7, 3), dtype=np.uint8)
    crops = np.repeat(np.repeat(np.repeat(coarse, 2, 1), SIDE // 7, 2), SIDE // 7, 3)
    np.save(folder / "portraits.npy", crops)
    index = {"names": [str(each) for each in range(persons)], "openings": [0.0, 0.1], "width_scales": [1.0, 1.0]}
    (folder / "portraits.json").write_text(json.dumps(index))
    clips = [made_clip(f"grid-{name}", name, frames=12, seed=seed) for seed, name in enumerate(("anna", "bert"))]
    for clip in clips:
        save_clip(folder, clip)
    save_split(folder, [{"name": each.name, "person": each.person, "split": "train"} for each in clips])
    return folder


def test_it_learns_to_tell_faces_apart_and_says_how_well(tmp_path: Path) -> None:
    lines: list[str] = []
    path = train_identity(_cache(tmp_path), tmp_path / "out", lines.append, RUN)
    figures = json.loads((tmp_path / "out" / FIGURES_FILE).read_text())
    assert figures["portraits_area"] > 0.8
    assert figures["portraits"] == 10
    assert 0 <= figures["grid_accuracy"] <= figures["grid_best"] <= 1
    assert path.stat().st_size < 1_000_000
    network = load_identity(path)
    assert float(network.threshold) == pytest.approx(figures["threshold"], abs=1e-3)
    assert not any(each.requires_grad for each in network.parameters())


def test_a_cache_without_portraits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match="no portraits"):
        train_identity(tmp_path, tmp_path, print)


def test_another_network_s_file_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"lipgan": "{}"})
    with pytest.raises(EngineError, match="holds no identity network"):
        load_identity(tmp_path / "other.safetensors")
    write_weights(tmp_path / "torn.safetensors", {"a": torch.zeros(1)}, {"own_identity": "{}"})
    with pytest.raises(EngineError, match="Train it again"):
        load_identity(tmp_path / "torn.safetensors")


def test_a_face_is_more_like_itself_than_like_another() -> None:
    torch.manual_seed(0)
    network = OwnIdentity().eval()
    anna, bert = (inner(made_clip(name, name, frames=6, seed=seed).crops) for seed, name in enumerate("ab"))
    assert likeness(network, anna, anna).min() > likeness(network, bert, anna).max()
    assert likeness(network, anna[:1], anna[:1]) == pytest.approx([1.0], abs=1e-5)


def test_only_the_lower_face_is_seen() -> None:
    crop = np.full((96, 96, 3), 100, np.uint8)
    changed = crop.copy()
    changed[:38], changed[:, :18] = 0, 255
    assert lower_face(crop).shape == (READ_PX, READ_PX, 3)
    assert (lower_face(changed) == lower_face(crop)).all()


def test_neighbouring_frames_make_no_pair() -> None:
    persons, places = np.array(["a", "a", "a", "b"]), np.array([0.0, 0.1, 0.5, 10.0], np.float32)
    embeddings = np.eye(4, dtype=np.float32)
    assert pairs_of(embeddings, persons)[1].sum() == 3
    assert pairs_of(embeddings, persons, places)[1].sum() == 2
    assert (~pairs_of(embeddings, persons, places)[1]).sum() == 3


def test_the_threshold_parts_what_can_be_parted() -> None:
    similar = np.array([0.1, 0.2, 0.3, 0.7, 0.8], np.float32)
    assert 0.3 < best_threshold(similar, similar > 0.5) <= 0.7


def test_the_loss_is_small_only_for_right_partners() -> None:
    own = torch.eye(6)
    assert choice_loss(own, own).item() < 0.01
    assert choice_loss(own, own.roll(1, 0)).item() > 5


def test_persons_are_drawn_from_the_portraits_that_may_teach() -> None:
    from training.own_identity import _fitted

    touched: set[int] = set()

    class Crops:
        shape = (6, 2, SIDE, SIDE, 3)

        def __getitem__(self, key: tuple[int, int]) -> np.ndarray:
            touched.add(int(key[0]))
            return np.full((SIDE, SIDE, 3), 30 * int(key[0]), np.uint8)

    portraits = cast("CachedPortraits", SimpleNamespace(crops=cast("Any", Crops())))
    _fitted(portraits, np.array([1, 2, 5]), IdentityRun(steps=2, persons=8), print)
    assert touched == {1, 2, 5}
