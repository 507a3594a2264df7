"""How good is a filter? Persons never trained on, beside its input and OpenCV's best, and whether it flickers.

One command: `evaluation.json`, a table and a contact sheet. PSNR and SSIM are against what should have been drawn;
where that is one of many right answers (a grey picture's colours), they say how near to the one that was photographed.
What pictures look like, one by one and as a set, is measured by `training.perceptual`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from training.classical import classical_filters
from training.data.pair_batches import PairDataConfig, as_units, camera_path, motions_between, viewed
from training.data.pair_makers import Pair, PairMaker, Rgb, unchanged
from training.data.photo_pairs import PairSet
from training.data.still_motion import maps_of_part, places_between, seen_through
from training.efficientnet_lite import WEIGHTS, EfficientNetLite0
from training.figure_table import figure_table
from training.filter_glance import held_pair, write_sheet
from training.filter_subject import FilterSubject
from training.flicker import Flow, Mask, affine_flow, film_flow, warp_errors
from training.intervals import COVERAGE_PERCENT, RESAMPLES, SEED, Interval
from training.perceptual import (
    FEWEST,
    KD,
    PD,
    floor,
    kernel_interval,
    paired_terms,
    picture_distances,
    pooled_features,
)
from training.picture_figures import luma_ssim, psnr_db
from training.steadiness import MOVED_PX, lag_pictures, moving_psnr_db

FIGURES: Mapping[str, Callable[[Rgb, Rgb], float]] = {"psnr_db": psnr_db, "ssim": luma_ssim}
SHOWN = 10
MOVING_STILLS, VIEWS = 12, 6
CLIP_FRAMES, CLIP_SIDE_PX = 50, 256
FROZEN_FRAMES = 5
PART_VIEWS = 16
DRAWN, INPUT, ALONE = "filter", "input", "without_memory"
FLOOR = "half of the targets against the other"
RESIZED = "to 224 x 224 px, bicubic, antialiased (torch)"

Report = dict[str, Any]
Row = dict[str, float | None]


def evaluate_filter(
    subject: FilterSubject,
    held: PairSet,
    maker: PairMaker,
    config: PairDataConfig,
    out: Path,
    say: Callable[[str], None],
    *,
    clips: Sequence[Path] = (),
    eye: EfficientNetLite0 | None = None,
) -> Report:
    """Measure a filter and write evaluation.json, evaluation.md and evaluation.jpg.

    Args:
        subject: What draws.
        held: Pairs that it never saw.
        maker: Spoils them, always in the same way.
        config: How they are loaded.
        out: Folder to write to.
        say: Takes one line of progress.
        clips: Films on which flicker is measured too; their own flow is that of the pictures before they are spoilt.
        eye: For KD-EffLite0 and PD-EffLite0, which are not measured without it, nor with fewer than eight pictures.
    """
    pairs = [held_pair(each, maker, config, i) for i, each in enumerate(held.pairs)]
    methods: dict[str, list[Rgb]] = {INPUT: [each.source for each in pairs]}
    methods[DRAWN] = [subject.pictures([each.source])[0] for each in pairs]
    for name, classical in classical_filters(config.maker).items():
        methods[name] = [classical(each.source) for each in pairs]
    values = {
        name: {key: np.array([f(a, b.target) for a, b in zip(drawn, pairs, strict=True)]) for key, f in FIGURES.items()}
        for name, drawn in methods.items()
    }
    seen = eye if len(pairs) >= FEWEST else None
    targets = [each.target for each in pairs]
    if seen is not None:
        for name, drawn in methods.items():
            values[name][PD] = picture_distances(seen, drawn, targets)
    best = _best_classical(values)
    report: Report = {
        "measured": subject.name,
        **subject.notes,
        "maker": config.maker or "pairs from a folder",
        "pictures": len(pairs),
        "picture_px": list(pairs[0].source.shape[:2]),
        "persons": "held back whole, or from a folder of their own (--all)",
        "intervals": f"95 %, {RESAMPLES} resamples of pictures, seed {SEED}",
        "figures": {name: {key: _interval(each) for key, each in row.items()} for name, row in values.items()},
        KD: _kernel_distances(seen, methods, targets) if seen is not None else None,
        "best_classical": best,
        "gain_over_input": _gains(values, INPUT),
        "gain_over_best_classical": _gains(values, best) if best else None,
        "flicker": {
            "moving_stills": _of_stills(subject, held, maker, config),
            "moving_parts": _of_parts(subject, held, maker, config),
            **{clip.stem: _of_clip(subject, clip, maker) for clip in clips},
        },
        "frozen_input": _frozen(subject, pairs[0].source),
        "not_measured": [*([] if seen is not None else [KD, PD]), "FID", "LPIPS"],
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text("\n".join(_table(report)) + "\n", encoding="utf-8")
    _write_sheet(out / "evaluation.jpg", pairs, methods, best)
    say(_line(values, best))
    return report


Samples = NDArray[np.float64]
Values = dict[str, dict[str, Samples]]


def _best_classical(values: Values) -> str | None:
    """By mean PSNR."""
    names = [name for name in values if name not in (DRAWN, INPUT)]
    return max(names, key=lambda name: float(values[name]["psnr_db"].mean())) if names else None


def _gains(values: Values, over: str) -> dict[str, Interval]:
    """The filter's figures less another's; of PD-EffLite0, less than 0 is better."""
    return {key: _interval(each - values[over][key]) for key, each in values[DRAWN].items()}


def _kernel_distances(
    eye: EfficientNetLite0, methods: Mapping[str, Sequence[Rgb]], targets: Sequence[Rgb]
) -> dict[str, object]:
    real = pooled_features(eye, targets)
    found = {name: kernel_interval(paired_terms(pooled_features(eye, drawn), real)) for name, drawn in methods.items()}
    return {"extractor": WEIGHTS.name, "pictures_resized": RESIZED, **found, FLOOR: floor(real)}


def _table(report: Report) -> list[str]:
    """Every method by every figure, in Markdown."""
    figures, kernels = report["figures"], report[KD] or {}
    assert isinstance(figures, dict)
    assert isinstance(kernels, dict)
    rows = {name: {**row, **({KD: kernels[name]} if kernels else {})} for name, row in figures.items()}
    rows |= {FLOOR: {KD: kernels[FLOOR]}} if kernels else {}
    title = f"# {report['measured']}, {report['pictures']} pictures"
    return [title, "", *figure_table(rows), "", f"In brackets: {report['intervals']}."]


def _interval(samples: Samples) -> Interval:
    """A mean and its interval over pictures."""
    drawn = np.random.default_rng(SEED).integers(len(samples), size=(RESAMPLES, len(samples)))
    low, high = np.percentile(samples[drawn].mean(1), COVERAGE_PERCENT)
    return Interval(*(round(float(each), 4) for each in (samples.mean(), low, high)))


def _of_stills(subject: FilterSubject, held: PairSet, maker: PairMaker, config: PairDataConfig) -> Report:
    """Films made of stills, whose motion is known exactly; every picture with its own grain."""
    rows = []
    for i, pair in enumerate(held.pairs[:MOVING_STILLS]):
        whole = held_pair(pair, maker._replace(again=unchanged), config, i)
        height, width = whole.source.shape[:2]
        moving = PairDataConfig(crop_px=min(height, width), load_px=min(height, width), frames=VIEWS)
        views = camera_path(np.random.default_rng([SEED, 11, i]), moving)
        flows = [affine_flow(motion, height, width) for motion in motions_between(views)]
        source, target = ([viewed(side, view, height, width) for view in views] for side in whole)
        rows.append(_film_row(subject, _spoilt(source, maker, i), target, flows))
    return _means(rows)


def _of_parts(subject: FilterSubject, held: PairSet, maker: PairMaker, config: PairDataConfig) -> Report:
    """Films of stills of which a part moves before a still background, as in a call."""
    rows = []
    for i, pair in enumerate(held.pairs[:MOVING_STILLS]):
        whole = held_pair(pair, maker._replace(again=unchanged), config, i)
        maps = maps_of_part(np.random.default_rng([SEED, 14, i]), PART_VIEWS, *whole.source.shape[:2])
        flows: list[tuple[Flow, Mask]] = [(each, each.min(-1) >= 0) for each in places_between(maps)]
        source, target = ([seen_through(side, view) for view in maps] for side in whole)
        moved = [np.abs(after - before).max(-1) > MOVED_PX for before, after in pairwise(maps)]
        rows.append(_film_row(subject, _spoilt(source, maker, i), target, flows, moved))
    return _means(rows)


def _of_clip(subject: FilterSubject, clip: Path, maker: PairMaker) -> Report:
    """A real film; nobody knows what should be drawn, so its own flow stands for the motion."""
    film = _read_clip(clip)
    flows = [film_flow(before, after) for before, after in pairwise(film)]
    targets = [maker.once(each).target for each in film]
    return _means([_film_row(subject, _spoilt([maker.once(each).source for each in film], maker, 0), targets, flows)])


def _spoilt(film: list[Rgb], maker: PairMaker, seed: int) -> list[Rgb]:
    """All pictures alike, but for their grain."""
    return [
        maker.again(each, np.random.default_rng([SEED, 12, seed]), np.random.default_rng([SEED, 13, seed, f]))
        for f, each in enumerate(film)
    ]


def _film_row(
    subject: FilterSubject,
    source: list[Rgb],
    target: list[Rgb],
    flows: list[tuple[Flow, Mask]],
    moved: list[Mask] | None = None,
) -> Row:
    films = {DRAWN: subject.pictures(source), INPUT: source, "target": target}
    if subject.memory:
        films[ALONE] = subject.alone(source)
    row: Row = {f"warp_error_{name}": float(np.nanmean(warp_errors(film, flows)[1:])) for name, film in films.items()}
    for name in (DRAWN, ALONE):
        if name not in films:
            continue
        end = "" if name == DRAWN else f"_{ALONE}"
        row[f"ssim{end}"] = float(np.mean([luma_ssim(a, b) for a, b in zip(films[name], target, strict=True)]))
        row[f"lag_pictures{end}"] = lag_pictures(films[name], target)
        if moved is not None:
            row[f"moving_psnr_db{end}"] = moving_psnr_db(films[name], target, moved)
    return row


def _means(rows: list[Row]) -> Report:
    """Means over films, each lag by itself; what could not be measured of a film is left out."""
    means: Report = {}
    for key in rows[0]:
        values = [value for row in rows if (value := row[key]) is not None and np.isfinite(value)]
        means[key] = values if key.startswith("lag") else round(float(np.mean(values)), 4) if values else None
    for name, end in ((INPUT, "inputs"), (ALONE, ALONE)):
        if (other := means.get(f"warp_error_{name}")) is not None:
            errors = means[f"warp_error_{DRAWN}"], other
            assert all(isinstance(each, float) for each in errors)
            means[f"share_of_{end}"] = round(errors[0] / max(errors[1], 1e-9), 4)
    return {**means, "films": len(rows)}


def _frozen(subject: FilterSubject, picture: Rgb) -> Report:
    """The same picture again and again: from which one on nothing changes any more, bit for bit."""
    drawn = subject.draw(np.stack([as_units(picture)] * FROZEN_FRAMES))
    changes = [float(np.abs(a - b).max()) for a, b in pairwise(drawn)]
    settled = next((i for i in range(len(changes) + 1) if not any(changes[i:])), len(changes))
    return {"frames": FROZEN_FRAMES, "largest_changes": changes, "exactly_frozen_from_frame": settled}


def _read_clip(clip: Path) -> list[Rgb]:
    """The middle of the first pictures, a square of a side that every filter takes."""
    film: list[Rgb] = []
    with av.open(clip) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            side = min(CLIP_SIDE_PX, *(each // 32 * 32 for each in picture.shape[:2]))
            top, left = ((each - side) // 2 for each in picture.shape[:2])
            film.append(np.ascontiguousarray(picture[top : top + side, left : left + side], np.uint8))
            if len(film) == CLIP_FRAMES:
                break
    return film


def _write_sheet(path: Path, pairs: Sequence[Pair], methods: Mapping[str, list[Rgb]], best: str | None) -> None:
    """Input, OpenCV's best, the filter, what should be drawn."""
    shown = np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).astype(int)
    columns = [INPUT, *([best] if best else []), DRAWN]
    square = [i for i in shown if pairs[i].source.shape == pairs[shown[0]].source.shape]
    write_sheet(path, [[*(methods[name][i] for name in columns), pairs[i].target] for i in square])


def _line(values: Values, best: str | None) -> str:
    names = [DRAWN, INPUT, *([best] if best else [])]
    return "; ".join(
        f"{name}: {values[name]['psnr_db'].mean():.2f} dB, SSIM {values[name]['ssim'].mean():.4f}" for name in names
    )
