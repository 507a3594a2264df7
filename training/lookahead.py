"""Look-ahead against quality: what drawn mouths lose when sound that comes after the picture is not waited for.

For each look-ahead one ear is trained (`training.ear`), alike in all but what it hears, to give the sound vector of one
trained generator; then this generator draws by it, and its pictures are measured as served. So the picture side is the
same in every row, and what differs is what the ear could not hear.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.checkpoint import load_generator
from models.lipgan_lite import LipGanLite, speech_window
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.clip_figures import DRAWN
from training.config import ConfigError
from training.ear import EarConfig, train_ear
from training.evaluate import evaluate, summarise
from training.intervals import Interval
from training.judges import Judges
from training.report import FIGURES, SPLIT_NAMES, cell
from training.subject import Subject, generator_subject
from training.trainer import without_ear

LOOK_AHEADS_MS = (0, 40, 80, 188)
SHOWN = ("own_r", "foreign_r", "leak_r", "distance_percent", "psnr_db", "jitter", "offset_ms")
"""Columns of the table, see `training.report.FIGURES`."""

Means = Mapping[str, Mapping[int, Mapping[str, Interval]]]
"""Split, look-ahead in ms, figure."""


def look_ahead(
    config: EarConfig,
    cache: Path,
    recogniser: Path,
    weights: Path,
    out: Path,
    judges: Judges,
    say: Callable[[str], None],
    *,
    look_aheads_ms: Sequence[int] = LOOK_AHEADS_MS,
    quick: bool = False,
) -> None:
    """Train an ear and measure the generator with it, for each look-ahead; write lookahead.json and lookahead.md.

    Args:
        config: Of each ear, but for its look-ahead.
        cache: Folder by `prepare`, with recordings and crops of the generator's size.
        recogniser: See `train_ear`.
        weights: `generator.safetensors` of a "lite".
        out: Folder for the ears and the tables; an ear that is there already is not trained again.
        judges: What measures.
        say: Takes one line of progress.
        look_aheads_ms: What to compare.
        quick: See `evaluate`.

    Raises:
        ConfigError: `out` holds ears that were trained otherwise, or the weights are of another generator.
        EngineError, MaterialError: As `train_ear`.
    """
    means: dict[str, dict[int, dict[str, Interval]]] = {}
    for ms in look_aheads_ms:
        folder = out / f"{ms}ms"
        known = (folder / CHECKPOINT_FILE).exists()
        asked = replace(config, look_ahead_ms=ms)
        checkpoint = train_ear(asked, cache, recogniser, folder, like=weights, resume=known)
        say(f"look-ahead {ms} ms: an ear of {config.run.steps} steps")
        found = evaluate(cache, heard_by(weights, checkpoint, ms), judges, folder, say, quick=quick)
        for split, methods in summarise(found).items():
            means.setdefault(split, {})[ms] = methods[DRAWN]
    run = config.run
    notes: dict[str, Any] = {
        "what": "the same generator's pictures as served, by ears that differ in what they may hear",
        "ear": {"steps": run.steps, "windows_a_step": run.sound_batch, "seed": run.seed},
        "clips": "first three seconds" if quick else "whole",
    }
    write_tables(out, notes, means)


def heard_by(weights: Path, checkpoint: Path, look_ahead_ms: int) -> Subject:
    """A generator with another ear in place of its own.

    Args:
        weights: The generator's.
        checkpoint: Of `training.ear`, with `like` this generator.
        look_ahead_ms: The ear's.

    Raises:
        ConfigError: The weights are of another generator, or the ear is another one.
    """
    generator = load_generator(weights)
    if not isinstance(generator, LipGanLite):
        raise ConfigError(f"{weights} is no lite generator")
    hearing = LipGanLite(replace(generator.config, look_ahead_ms=look_ahead_ms, ear="speech"))
    hearing.load_state_dict(hearing.state_dict() | without_ear(generator.state_dict()))
    try:
        hearing.sound.load_state_dict(load_checkpoint(checkpoint)["averaged"])
    except RuntimeError as error:
        raise ConfigError(f"{checkpoint} holds no ear that hears {look_ahead_ms} ms ahead: {error}") from None
    return generator_subject(f"{look_ahead_ms} ms", hearing)


def write_tables(out: Path, notes: Mapping[str, object], means: Means) -> None:
    """Write lookahead.json and lookahead.md."""
    figures = {
        split: {ms: {key: row[key]._asdict() for key in SHOWN if key in row} for ms, row in rows.items()}
        for split, rows in means.items()
    }
    (out / "lookahead.json").write_text(json.dumps({**notes, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    lines = [line for split, rows in means.items() for line in _table(split, rows)]
    (out / "lookahead.md").write_text("\n".join(lines), encoding="utf-8")


def _table(split: str, rows: Mapping[int, Mapping[str, Interval]]) -> list[str]:
    heads = ["look-ahead, ms", "heard, ms", *(FIGURES[key].name for key in SHOWN)]
    lines = [f"**{SPLIT_NAMES.get(split, split)}**", "", f"| {' | '.join(heads)} |", "|" + " - |" * len(heads)]
    for ms, row in rows.items():
        cells = [cell(row.get(key), FIGURES[key].decimals) for key in SHOWN]
        lines.append(f"| {ms} | {speech_window(ms).look_ahead_ns / 1e6:g} | {' | '.join(cells)} |")
    return [*lines, ""]
