"""What an evaluation looks like to a reader: Markdown tables and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.intervals import Interval

Pictures = NDArray[np.uint8]
Table = Mapping[str, Mapping[str, Interval]]
"""Method, figure."""


class Heading(NamedTuple):
    """How a figure is shown: its name, its decimals, and what it means."""

    name: str
    decimals: int
    meaning: str


FIGURES = {
    "own_r": Heading("r, own sound", 2, "correlation of the mouth's opening with the true one"),
    "distance_percent": Heading("lip distance, %", 2, "mean distance of 40 lip points from the true ones"),
    "psnr_db": Heading("PSNR, dB", 1, "lower half of the crop; 100 stands for equal pictures"),
    "ssim": Heading("SSIM", 3, "luma of the lower half"),
    "sharpness": Heading("sharpness / true", 2, "variance of the Laplacian of luma on and next to the lips"),
    "jitter": Heading("jitter / true", 2, "mean magnitude of the second difference of the lip points"),
    "spread": Heading("spread / true", 2, "standard deviation of the opening"),
    "offset_ms": Heading("offset, ms", 0, "of the drawn opening against the true one; positive = the lips lead"),
    "lpips": Heading("LPIPS", 3, "AlexNet 0.1, of the whole crop"),
    "fid": Heading("FID", 1, "of the split's crops against the true ones; few pictures make it high"),
    "lse_c": Heading("LSE-C", 2, "SyncNet's confidence at the best shift, own sound; face-centred frames at 224 px"),
    "lse_d": Heading("LSE-D", 2, "its distance there; lower is better"),
    "lse_c_foreign": Heading("LSE-C, foreign sound", 2, "likewise"),
    "lse_d_foreign": Heading("LSE-D, foreign sound", 2, "likewise"),
    "identity": Heading(
        "own identity similarity", 3, "to the mean of the clip's true lower faces; of its own scale, no published score"
    ),
    "identity_stranger": Heading("the same, another person", 3, "true pictures of the next person, for comparison"),
    "expert": Heading(
        "own expert's confidence",
        3,
        "best similarity of lips and own sound over all shifts less the median; its own scale, neither LSE-C nor -D",
    ),
    "expert_offset_ms": Heading("own expert's offset, ms", 0, "the shift of that best similarity, signed as above"),
    "foreign_r": Heading("r, foreign sound", 2, "correlation with the mouth of the person whose sound it is"),
    "leak_r": Heading("leak", 2, "correlation with the mouth that was there, under foreign sound"),
    "chance_r": Heading("leak by chance", 2, "correlation of the two true mouths"),
    "expert_foreign": Heading(
        "own expert, foreign sound", 3, "its confidence that lips and foreign sound belong together"
    ),
    "expert_foreign_offset_ms": Heading("own expert's offset, foreign sound, ms", 0, "of its best similarity there"),
    "closed_silence": Heading(
        "closed in silence", 2, "share of pictures with at most this person's closed opening (5th percentile) + 0.02"
    ),
    "closed_bilabials": Heading(
        "closed on p, b, m",
        2,
        "share of these phones, each with 20 ms around it, in which the opening falls to that limit",
    ),
    "closed_bilabials_foreign": Heading(
        "closed on p, b, m, foreign sound", 2, "likewise, on those of the foreign voice"
    ),
    "closed_plain": Heading("closed, plain", 2, "share of pictures with an opening of at most 0.03"),
}
SPLIT_NAMES = {
    "measured": "HDTF, natural speech, never trained on",
    "held_person": "persons held back",
    "held_clip": "clips held back of persons trained on",
}
METHOD_NOTES = """\
*drawn* is the generator. *Shuffled sound*: its own sound's windows in random order. *Static mouth*: the clip's most
closed mouth, put through the same mask. *Copy of the reference*: the picture that tells the generator who speaks,
likewise. *Copy of the input*: the true pictures themselves. A generator that changes a mouth is shown the frame with
its mouth shut by a warp; *shut mouth, nothing drawn* is that frame, and says what of the mouth that was there
survives. *Another mouth shown*: such a generator gets frames whose mouth was first warped to the opening of half a
clip away, so that the true one is nowhere in its input, and must find it by sound; *copy of the input* beside it is
these frames."""
SHEET_COLUMNS = 12
SHEET_TILE_PX = 112
SHEET_QUALITY = 82
NAME_PX = 16


def write_report(
    path: Path, notes: Mapping[str, object], means: Mapping[str, Table], clips: Mapping[str, Table]
) -> None:
    """Write means by split with every method, and single clips of the generator, as Markdown tables.

    Args:
        path: File to write.
        notes: What was measured and how.
        means: By split.
        clips: By clip; the first method is the generator.
    """
    text = ["# Evaluation", "", *(f"- {_words(key)}: {value}" for key, value in notes.items()), ""]
    text += [
        "Values are followed by their intervals. Lengths are shares of the distance between the outer eye corners.",
        "",
    ]
    there = {key for table in means.values() for figures in table.values() for key in figures}
    explained = (f"- **{each.name}**: {each.meaning}" for key, each in FIGURES.items() if key in there)
    text += [METHOD_NOTES, "", *explained, ""]
    for split, table in means.items():
        text += [f"## {SPLIT_NAMES.get(split, split)}", "", *_by_method(table), ""]
    first = next(iter(next(iter(clips.values()))))
    rows = {clip: table[first] for clip, table in clips.items()}
    text += ["## Clips", "", "The generator's own figures; intervals are over frames alone.", "", *_by_clip(rows), ""]
    path.write_text("\n".join(text), encoding="utf-8")


def write_sheet(path: Path, clips: Mapping[str, Mapping[str, Pictures]]) -> None:
    """Write a contact sheet.

    Args:
        path: JPEG to write.
        clips: By clip, then by what they are, pictures uint8 RGB [n, S, S, 3].
    """
    lines = [_line_of(f"{clip}: {name}", pictures) for clip, each in clips.items() for name, pictures in each.items()]
    sheet = cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY])


def evenly_spaced(count: int) -> NDArray[np.intp]:
    """Which of so many pictures a sheet shows."""
    return np.linspace(0, count - 1, SHEET_COLUMNS).astype(np.intp)


def _line_of(name: str, pictures: Pictures) -> Pictures:
    """Evenly spaced pictures side by side under their name."""
    chosen = pictures[evenly_spaced(len(pictures))]
    tiles = [cv2.resize(each, (SHEET_TILE_PX,) * 2, interpolation=cv2.INTER_AREA) for each in chosen]
    band = np.zeros((NAME_PX, SHEET_TILE_PX * SHEET_COLUMNS, 3), np.uint8)
    cv2.putText(band, name, (4, NAME_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([band, np.hstack(tiles)])


def _by_method(table: Table) -> list[str]:
    lines = [_line(["", *table]), _line(["-"] * (len(table) + 1))]
    return lines + [
        _line([heading.name, *(cell(figures.get(key), heading.decimals) for figures in table.values())])
        for key, heading in FIGURES.items()
        if any(key in figures for figures in table.values())
    ]


def _by_clip(rows: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    shown = {key: each for key, each in FIGURES.items() if any(key in row for row in rows.values())}
    lines = [_line(["clip", *(each.name for each in shown.values())]), _line(["-"] * (len(shown) + 1))]
    cells = {clip: [cell(row.get(key), each.decimals) for key, each in shown.items()] for clip, row in rows.items()}
    return lines + [_line([clip, *each]) for clip, each in cells.items()]


def cell(interval: Interval | None, decimals: int) -> str:
    """A value with its interval for a table, or a dash where it does not exist."""
    if interval is None or not np.isfinite(interval.value):
        return "-"
    value, low, high = (f"{each:.{decimals}f}" for each in interval)
    if not np.isfinite(interval.low):
        return value
    return f"{value} [{low}, {high}]"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
