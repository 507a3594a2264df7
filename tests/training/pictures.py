"""Pictures that need no material: shapes in colours, different for every seed."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def made_picture(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A soft gradient with discs, uint8 RGB [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = (np.stack([x, y, 1 - x], 2) * 120 + rng.uniform(20, 110, 3)).astype(np.uint8)
    for _ in range(4):
        place = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(picture, place, int(rng.integers(4, 14)), rng.integers(255, size=3).tolist(), -1, cv2.LINE_AA)
    return picture


def write_picture(path: Path, picture: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])
    return path


def write_layouts(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> Path:
    """Photos, and what three classes their levels of red are, in `photos/` and `layouts/`."""
    (folder / "layouts").mkdir(parents=True)
    for i in range(count):
        photo = made_picture(i, *size)
        write_picture(folder / "photos" / f"s{i}.png", photo)
        assert cv2.imwrite(str(folder / "layouts" / f"s{i}.png"), (photo[..., 0] // 86).astype(np.uint8))
    return folder


def write_photos(folder: Path, count: int, height: int = 48, width: int = 64) -> Path:
    for i in range(count):
        write_picture(folder / f"person{i:02d}.png", made_picture(i, height, width))
    return folder
