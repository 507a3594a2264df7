"""`python -m training.mouth_cover`: the network that sees hands and microphones before a mouth.

Clean crops come from portraits and clips through the product's own landmarks
and crop; covers are drawn on them (`training/data/covers.py`), so the share that
is hidden is known exactly. Persons are held back whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.crop import crop_face, crop_transform, in_crop
from kernels.yuv import rgb_to_i420
from models.landmarks import LandmarkNetworks
from models.mouth_cover import CROP_SIZE, MODEL_PATH
from training.data.covers import Face, covered

Rgb = NDArray[np.uint8]
Points = NDArray[np.float32]

# Crops are kept larger than the network's input, so that jitter has something to take in.
STORED_SIZE = 96
BATCH = 128
# A covered mouth is called covered from here, as `stream/occlusion.py` does.
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of pictures or clips.

    Attributes:
        pattern: Glob below the material's folder.
        share: How much of the training pictures comes from here.
        every: Which pictures of a clip are used.
        held_back: Every so-manieth file is held back; 0 holds none back.
    """

    pattern: str
    share: float
    every: int = 1
    held_back: int = 0


SOURCES = (
    Source("faces/congress118_256/*.jpg", 0.55, held_back=8),
    Source("video/grid/*.mpg", 0.25, every=3, held_back=4),
    Source("video/grid_s1/*.mpg", 0.08, every=10),
    Source("video/dubbing/sailing_en.mp4", 0.12, every=3),
)


class MouthCoverNet(nn.Module):
    """Four strided convolutions and two dense layers: 2.1 MMAC, 48 k parameters."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 32, 48), dense: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        cells = (CROP_SIZE >> len(widths)) ** 2
        head = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels * cells, dense), nn.ReLU(), nn.Linear(dense, 1)]
        self.layers = nn.Sequential(*layers, *head)

    def forward(self, crops: Tensor) -> Tensor:
        """Uint8 or float [N, 64, 64, 3] in 0..255 to logits of the hidden share [N]."""
        scaled = crops.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.layers(scaled)[:, 0]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class CleanCrops:
    """Faces with nothing before the mouth.

    Attributes:
        faces: The crops, `STORED_SIZE` a side.
        pictures: The same pictures, uint8 [n, S, S, 3], as texture for covers.
        chances: float64 [n], how often each is drawn; they sum to 1.
    """

    faces: list[Face]
    pictures: Rgb
    chances: NDArray[np.float64]


def read_material(material: Path) -> tuple[CleanCrops, CleanCrops]:
    """Crops to learn from and crops of held-back files."""
    networks = LandmarkNetworks()
    kept: tuple[list[tuple[Face, float]], list[tuple[Face, float]]] = ([], [])
    for source in SOURCES:
        parts: tuple[list[Face], list[Face]] = ([], [])
        for i, path in enumerate(sorted(material.glob(source.pattern))):
            held = bool(source.held_back) and i % source.held_back == source.held_back // 2
            parts[held].extend(_faces(networks, path, source.every))
        for part, faces in zip(kept, parts, strict=True):
            part.extend((face, source.share / len(faces)) for face in faces)
    return _collect(kept[0]), _collect(kept[1])


def _collect(weighted: list[tuple[Face, float]]) -> CleanCrops:
    chances = np.array([weight for _, weight in weighted])
    faces = [face for face, _ in weighted]
    return CleanCrops(faces, np.stack([face.picture for face in faces]), chances / chances.sum())


def _faces(networks: LandmarkNetworks, path: Path, every: int) -> Iterator[Face]:
    for picture in _pictures(path, every):
        for mesh in networks.find(picture):
            points = mesh.points[:, :2]
            to_crop = crop_transform(points, STORED_SIZE)
            crop = crop_face(rgb_to_i420(picture), to_crop, STORED_SIZE)
            yield Face(crop, in_crop(points, to_crop))


def _pictures(path: Path, every: int) -> Iterator[Rgb]:
    if path.suffix == ".jpg":
        yield np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        return
    with av.open(path) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % every == 0:
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def examples(clean: CleanCrops, count: int, random: np.random.Generator) -> tuple[Rgb, Points]:
    """Draw pictures uint8 [count, 64, 64, 3], half of them with a cover, and hidden shares float32 [count]."""
    pictures = np.empty((count, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    hidden = np.zeros(count, np.float32)
    for i, chosen in enumerate(random.choice(len(clean.faces), count, p=clean.chances)):
        face = clean.faces[chosen]
        picture = face.picture
        if random.random() < 0.5:
            picture, hidden[i] = covered(face, clean.pictures, random)
        pictures[i] = _degraded(_jittered(picture, random), random)
    return pictures, hidden


def _jittered(picture: Rgb, random: np.random.Generator) -> Rgb:
    """Turn, scale and shift by what landmarks err by, above all behind a cover; mirror half of them."""
    scale = CROP_SIZE / picture.shape[0] * np.exp(random.normal(0, 0.05))
    angle = random.normal(0, 0.06)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = CROP_SIZE / 2 + random.normal(0, 0.025 * CROP_SIZE, 2) - linear @ np.full(2, picture.shape[0] / 2)
    turned = np.column_stack([linear, shift])
    if random.random() < 0.5:
        turned[0] = -turned[0] + (0, 0, CROP_SIZE - 1)
    return np.asarray(
        cv2.warpAffine(picture, turned, (CROP_SIZE, CROP_SIZE), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _degraded(picture: Rgb, random: np.random.Generator) -> Rgb:
    """Light, colour cast, greyness, blur, few pixels, noise."""
    gains = random.uniform(0.6, 1.3) * np.exp(random.normal(0, 0.08, 3))
    shown = picture * gains.astype(np.float32) + np.float32(random.normal(0, 8))
    if random.random() < 0.3:
        shown += (shown.mean(axis=2, keepdims=True) - shown) * np.float32(random.uniform(0, 1))
    if random.random() < 0.5:
        shown = cv2.GaussianBlur(shown, (0, 0), random.uniform(0.3, 1.6))
    if random.random() < 0.3:
        side = int(random.integers(24, CROP_SIZE))
        few = cv2.resize(shown, (side, side), interpolation=cv2.INTER_AREA)
        shown = cv2.resize(few, (CROP_SIZE, CROP_SIZE))
    noisy = shown + random.normal(0, random.uniform(0, 6), shown.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def train(clean: CleanCrops, *, pool: int, epochs: int, seed: int) -> MouthCoverNet:
    """Fit a network; a quarter of the pool is drawn anew after every epoch."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = MouthCoverNet()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * (pool // BATCH))
    pictures, hidden = examples(clean, pool, random)
    for epoch in range(epochs):
        network.train()
        order, losses = random.permutation(pool), []
        for start in range(0, pool - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            logits = network(torch.from_numpy(pictures[chosen]))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(hidden[chosen]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs} loss {np.mean(losses):.4f}", file=sys.stderr, flush=True)
        renewed = random.choice(pool, pool // 4, replace=False)
        pictures[renewed], hidden[renewed] = examples(clean, pool // 4, random)
    return network.eval()


def evaluate(network: MouthCoverNet, clean: CleanCrops, count: int = 4000) -> dict[str, float]:
    """Figures on drawn examples of held-back faces."""
    pictures, hidden = examples(clean, count, np.random.default_rng(99))
    with torch.inference_mode():
        parts = [torch.sigmoid(network(torch.from_numpy(part))) for part in np.array_split(pictures, 8)]
    said = torch.cat(parts).numpy()
    clear, covers = said[hidden < 0.02], said[hidden > 0.6]
    return {
        "clear": len(clear),
        "clear_called_covered": float((clear > THRESHOLD).mean()),
        "covered": len(covers),
        "covered_called_covered": float((covers > THRESHOLD).mean()),
        "mean_error_of_share": float(np.abs(said - hidden).mean()),
    }


def export(network: MouthCoverNet, path: Path) -> None:
    """Write OpenVINO's format: uint8 [1, 64, 64, 3] to the hidden share [1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = torch.zeros(1, CROP_SIZE, CROP_SIZE, 3, dtype=torch.uint8)
    model = openvino.convert_model(nn.Sequential(network, nn.Sigmoid()), example_input=shown)
    model.reshape([1, CROP_SIZE, CROP_SIZE, 3])
    openvino.save_model(model, path, compress_to_fp16=False)


def main() -> None:
    """Train, measure on held-back persons, write the model and its figures."""
    parser = argparse.ArgumentParser(prog="python -m training.mouth_cover", description=__doc__)
    parser.add_argument("--material", type=Path, required=True, help="folder with faces/ and video/")
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    parser.add_argument("--pool", type=int, default=24_000, help="examples held at a time")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    learn, held_back = read_material(chosen.material)
    network = train(learn, pool=chosen.pool, epochs=chosen.epochs, seed=chosen.seed)
    figures = evaluate(network, held_back)
    export(network, chosen.out)
    chosen.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
