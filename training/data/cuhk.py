"""The CUHK student set (sketches by an artist beside photos) as folders of pairs, for the figures that others publish.

It is for research only: what is trained on it is measured and not shipped.

Source: X. Wang, X. Tang, "Face Photo-Sketch Synthesis and Recognition", PAMI 31 (2009); folders and names as in
juliagong/sketch2face: `train/` and `test/` with `f-005-01.jpg` beside `F2-005-01-sz1.jpg` or `f-005-01-sz1.jpg`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from training.data.clips import MaterialError

_SKETCH = re.compile(r"([fm])(\d?)(-\d+-\d+)-sz1\.jpg", re.IGNORECASE)


def write_cuhk_pairs(cuhk: Path, out: Path) -> dict[str, int]:
    """Copy photos to `out/train/A` and `out/test/A`, sketches to `B`, both under the photo's name.

    Returns:
        How many pairs each split has.

    Raises:
        MaterialError: A folder is missing, or a sketch has no photo.
    """
    counts = {}
    for split in ("train", "test"):
        if not (cuhk / split).is_dir():
            raise MaterialError(f"no folder {cuhk / split}; {cuhk} should hold train/ and test/")
        pairs = {photo_of(sketch): sketch for sketch in sorted((cuhk / split).glob("*-sz1.jpg"))}
        for photo, sketch in pairs.items():
            if not photo.is_file():
                raise MaterialError(f"{sketch} has no photo {photo.name}")
            for side, source in (("A", photo), ("B", sketch)):
                (out / split / side).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, out / split / side / photo.name)
        counts[split] = len(pairs)
    return counts


def photo_of(sketch: Path) -> Path:
    """The photo that a sketch belongs to: in `train/`, "F2" is "f"; in `test/`, the name is the photo's.

    Raises:
        MaterialError: It is not named like a sketch.
    """
    found = _SKETCH.fullmatch(sketch.name)
    if found is None:
        raise MaterialError(f"{sketch} is not named like a sketch of the set, such as F2-005-01-sz1.jpg")
    letter, number, rest = found.groups()
    return sketch.with_name(f"{letter.lower()}{'' if letter.isupper() else number}{rest}.jpg")
