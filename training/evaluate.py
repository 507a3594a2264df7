"""Does the mouth follow the voice? Held-back clips, own voice, foreign voices, silence, and baselines.

Every clip is drawn with its own sound, with the sound of two other persons, with silence and with its own windows
in random order. Openings come from the landmark networks; HDTF clips are only ever measured here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.identity import IdentityBank
from kernels.mel import LIPGAN_WINDOW, SILENCE, MelWindow
from models.catalogue import load_engine
from models.generators import window_of
from models.landmarks import LandmarkNetworks
from training.data.cache import CachedClip, load_clips
from training.glance import Painter, centre, draw, torch_painter, windows
from training.mouths import Pictures, Track, correlation, lower_psnr_db, lower_ssim, offset_ms, read_openings
from training.report import write_report, write_sheet

HELD_SPLITS = ("held_clip", "held_person", "measured")
FOREIGN_VOICES = 2
SILENT_PICTURES = 12
MIN_FRAMES = 25
MAX_FRAMES = 75
SHEET_COLUMNS = 12
SEED = 7
IDENTITIES = ("same_frame", "reference")
"""Which picture the generator takes the face from, as in the manifest: the frame being drawn, or the clip's first."""

Row = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One clip drawn one way.

    Attributes:
        pictures: uint8 [T, S, S, 3].
        opening: [T], read by the landmark networks.
    """

    pictures: Pictures
    opening: Track


def evaluate(
    cache: Path,
    paint: Painter,
    name: str,
    out: Path,
    say: Callable[[str], None],
    identities: Sequence[str] = IDENTITIES,
    window: MelWindow = LIPGAN_WINDOW,
) -> list[Row]:
    """Measure one generator and write evaluation.json, evaluation.md and evaluation.jpg.

    Args:
        cache: Folder by `prepare`.
        paint: The generator, from `engine_painter` or `checkpoint_painter`.
        name: What was measured, for the report.
        out: Folder to write to.
        say: Takes one line of progress.
        identities: Which of `IDENTITIES` to measure.
        window: The mel columns that it sees with each picture.

    Returns:
        One row per clip and identity policy; "clip" and "split" are text, the rest numbers.
    """
    clips = [_shortened(clip) for clip in load_clips(cache, set(HELD_SPLITS)) if len(clip.crops) >= MIN_FRAMES]
    networks = LandmarkNetworks(threads=1)
    rows: list[Row] = []
    strips: list[Pictures] = []
    for clip in clips:
        for identity in identities:
            row, strip = measure(paint, networks, clip, _others(clips, clip), identity, window)
            rows.append(row)
            strips += strip if identity == identities[0] else []
        say(f"{clip.name}: own voice r {rows[-1]['own_r']:.2f}, foreign voice r {rows[-1]['swap_r']:.2f}")
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"measured": name, "rows": rows, "mean": summarise(rows)}, indent=1)
    (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    write_report(out / "evaluation.md", summarise(rows), rows)
    write_sheet(out / "evaluation.jpg", strips)
    return rows


def _at_rest(clip: CachedClip, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The identity pictures that serving would have chosen, frame by frame."""
    bank = IdentityBank()
    times = zip(clip.pts_ns.tolist(), clip.landmarks, crops, strict=True)
    return np.stack([bank.choose(pts_ns, landmarks, crop) for pts_ns, landmarks, crop in times])


def measure(
    paint: Painter,
    networks: LandmarkNetworks,
    clip: CachedClip,
    others: list[CachedClip],
    identity: str,
    window: MelWindow = LIPGAN_WINDOW,
) -> tuple[Row, list[Pictures]]:
    """All figures of one clip under one identity policy, and strips of pictures to look at."""
    crops = np.ascontiguousarray(centre(clip))
    faces = crops if identity == "same_frame" else _at_rest(clip, crops)

    def drawn(mel: NDArray[np.float32]) -> Drawn:
        pictures = draw(paint, faces[: len(mel)], crops[: len(mel)], mel)
        return Drawn(pictures, read_openings(networks, pictures, clip.landmarks[: len(mel)]))

    mel = windows(clip, clip.pts_ns, window)
    truth = read_openings(networks, crops, clip.landmarks)
    own = drawn(mel)
    shuffled = drawn(np.random.default_rng(SEED).permutation(mel))
    silent = drawn(np.full_like(mel[:SILENT_PICTURES], SILENCE))
    swaps = [_swap(drawn, clip, other, truth, window) for other in others]
    static = _static(crops, _closed_picture(clip))
    row: Row = {
        "clip": clip.name,
        "split": clip.split,
        "identity": identity,
        "own_r": correlation(own.opening, truth),
        "swap_r": _mean(each["r"] for each, _ in swaps),
        "swap_leak_r": _mean(each["leak"] for each, _ in swaps),
        "swap_chance_r": _mean(each["chance"] for each, _ in swaps),
        "shuffled_r": correlation(shuffled.opening, truth),
        "spread_ratio": float(own.opening.std() / max(truth.std(), 1e-6)),
        "opening_speech": float(own.opening.mean()),
        "opening_truth": float(truth.mean()),
        "opening_silence": float(silent.opening.mean()),
        "rest_truth": float(np.percentile(truth, 5)),
        "offset_ms": offset_ms(own.opening, truth, clip.pts_ns),
        "psnr_db": lower_psnr_db(own.pictures, crops),
        "static_psnr_db": lower_psnr_db(static, crops),
        "shuffled_psnr_db": lower_psnr_db(shuffled.pictures, crops),
        "ssim": lower_ssim(own.pictures, crops),
        "static_ssim": lower_ssim(static, crops),
    }
    return row, _strips(crops, own.pictures, swaps[0][1].pictures, silent.pictures)


def summarise(rows: list[Row]) -> list[Row]:
    """Means over the clips of each split and identity policy; clips that a figure does not exist for are left out."""
    groups = sorted({(str(row["identity"]), str(row["split"])) for row in rows})
    return [_group([row for row in rows if (row["identity"], row["split"]) == group], *group) for group in groups]


def _group(rows: list[Row], identity: str, split: str) -> Row:
    numbers = [key for key, value in rows[0].items() if not isinstance(value, str)]
    means: Row = {key: _mean(float(row[key]) for row in rows) for key in numbers}
    return {"identity": identity, "split": split, "clips": float(len(rows)), **means}


def _swap(
    drawn: Callable[[NDArray[np.float32]], Drawn],
    clip: CachedClip,
    other: CachedClip,
    truth: Track,
    window: MelWindow,
) -> tuple[dict[str, float], Drawn]:
    """Drive a clip with another clip's voice, for as long as both last."""
    times_ns = clip.pts_ns - clip.pts_ns[0] + other.pts_ns[0]
    times_ns = times_ns[times_ns <= other.pts_ns[-1]]
    result = drawn(windows(other, times_ns, window))
    driving = np.interp(times_ns, other.pts_ns, other.opening)
    own = truth[: len(times_ns)]
    measured = {"r": correlation(result.opening, driving), "leak": correlation(result.opening, own)}
    return measured | {"chance": correlation(driving, own)}, result


def _others(clips: list[CachedClip], clip: CachedClip) -> list[CachedClip]:
    """Clips of other persons in the same kind of material, the next ones in the list."""
    measured = clip.split == "measured"
    start = clips.index(clip)
    ring = clips[start + 1 :] + clips[:start]
    foreign = [each for each in ring if each.person != clip.person and (each.split == "measured") == measured]
    return foreign[:FOREIGN_VOICES]


def _closed_picture(clip: CachedClip) -> Pictures:
    return np.asarray(centre(clip)[int(np.argmin(clip.opening))])


def _static(crops: Pictures, closed: Pictures) -> Pictures:
    """The clip with the mouth of one closed frame: what a generator that ignores the voice could do."""
    still = crops.copy()
    half = crops.shape[1] // 2
    still[:, half:] = closed[half:]
    return still


def _strips(*rows: Pictures) -> list[Pictures]:
    return [np.hstack(row[np.linspace(0, len(row) - 1, SHEET_COLUMNS).astype(int)]) for row in rows]


def _mean(values: Iterable[float]) -> float:
    finite = [each for each in values if np.isfinite(each)]
    return float(np.mean(finite)) if finite else float("nan")


def _shortened(clip: CachedClip) -> CachedClip:
    """The first seconds of a long clip."""
    per_frame = ("crops", "pts_ns", "opening", "width", "landmarks")
    return replace(clip, **{name: getattr(clip, name)[:MAX_FRAMES] for name in per_frame})


def engine_painter(name: str, precision: str | None) -> tuple[Painter, str, MelWindow]:
    """A shipped engine, what it is called, and what it hears.

    Raises:
        EngineError: No such engine.
    """
    engine = load_engine(name, precision=precision, threads=1)

    def paint(face: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(engine.infer({"face": face, "mel": mel})["picture"], np.float32)

    return paint, f"{name} {engine.precision}", engine.mel_window


def checkpoint_painter(checkpoint: Path) -> tuple[Painter, str, MelWindow]:
    """The averaged generator of a run's checkpoint, what it is called, and what it hears.

    Raises:
        ConfigError: No such checkpoint.
    """
    from training.export import generator_of_run

    generator, notes = generator_of_run(checkpoint)
    return torch_painter(generator), f"checkpoint of step {notes['step']}", window_of(generator)
