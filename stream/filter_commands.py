"""`visavis filter`: what is listed, what is opened, what is printed, and the report that is left.

What `visavis dub` opens as well is here too.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from stream.clock import MonotonicClock
from stream.config import Config, FiltersConfig, load_config
from stream.errors import ConfigError
from stream.faces import FaceFinder, open_face_finder
from stream.filter_job import FilterFigures, FilterJob, FilterRun, check_filter_paths
from stream.filter_opening import open_named, titles
from stream.filters import Area, Chosen, Filter, Order, lay, standing_in
from stream.media import Encoding
from stream.media.codec_device import Codecs, choose
from stream.progress import ProgressLine

# A finder for filters makes no crops of its own.
_CROP_PX = 96


def run(arguments: argparse.Namespace, cache_folder: Path | None, own: Path) -> int:
    """List the filters, or filter a clip; 0 when everything was written.

    Raises:
        ConfigError, EngineError, MediaError: What the user must change; nothing was written.
    """
    config = load_config(arguments.config)
    if arguments.list:
        return _list(config.filters, own)
    report: Path | None = arguments.report
    if report is not None and not report.parent.is_dir():
        raise ConfigError(f"the folder {report.parent} does not exist: choose another place for --report")
    codecs = chosen_codecs(arguments, config)
    with chosen_filter(arguments, config, cache_folder, own) as chosen:
        if chosen is None:
            raise ConfigError("which filter? Give --filter NAME; see: visavis filter --list")
        job = FilterJob(
            source=arguments.source,
            output=arguments.output,
            chosen=chosen,
            mark=mark_of(arguments, config),
            overwrite=arguments.overwrite,
            keep_going=arguments.keep_going,
            encoding=Encoding(quality=arguments.quality),
            codecs=codecs,
        )
        check_filter_paths(job)
        figures = asyncio.run(_run(job, config))
    for warning in figures.warnings:
        print(f"visavis: warning: {warning}", file=sys.stderr)
    if report is not None:
        report.write_text(json.dumps(_report(job, figures), indent=1) + "\n")
    print(_summary(job, figures))
    return 0


def chosen_codecs(arguments: argparse.Namespace, config: Config) -> Codecs:
    """Who decodes and encodes, by the command line or else the configuration; said unless it was to be the processor.

    Raises:
        ConfigError: The card was asked for and cannot do it.
    """
    wanted = config.codecs
    if arguments.codecs:
        wanted = dataclasses.replace(wanted, device=arguments.codecs)
    codecs = choose(wanted)
    if wanted.device != "cpu":
        print(f"visavis: {codecs}", file=sys.stderr)
    return codecs


def mark_of(arguments: argparse.Namespace, config: Config) -> str:
    """Text of the mark for filtered pictures."""
    if arguments.no_badge:
        return ""
    given: str | None = getattr(arguments, "badge", None) if arguments.command == "filter" else None
    return config.filters.badge if given is None else given


@contextlib.contextmanager
def chosen_filter(
    arguments: argparse.Namespace, config: Config, cache_folder: Path | None, own: Path
) -> Iterator[Chosen | None]:
    """The filter that was asked for, open; None where none was.

    Raises:
        ConfigError, EngineError: It cannot be had; the message ends with the remedy.
    """
    if arguments.filter is None:
        yield None
        return
    made = open_named(arguments.filter, config.filters, own, cache_folder)
    try:
        yield _chosen(arguments, config.filters, made)
    finally:
        made.close()


@contextlib.contextmanager
def covering_filter(config: FiltersConfig, cache_folder: Path | None, own: Path) -> Iterator[Chosen | None]:
    """The filter that stands in for a covered mouth, open; None where the configuration names none.

    Raises:
        ConfigError, EngineError: It cannot be had, or is not fit for that; the message ends with the remedy.
    """
    if not config.when_covered:
        yield None
        return
    try:
        made = open_named(config.when_covered, config, own, cache_folder)
    except ConfigError as error:
        raise ConfigError(f"[filters] when_covered: {error}") from error
    try:
        yield _standing_in(made)
    finally:
        made.close()


def _standing_in(made: Filter) -> Chosen:
    try:
        return standing_in(made)
    except ValueError as error:
        raise ConfigError(f"[filters] when_covered: {error}") from None


def _chosen(arguments: argparse.Namespace, config: FiltersConfig, made: Filter) -> Chosen:
    try:
        return lay(
            made,
            strength=arguments.strength,
            wipe=arguments.wipe,
            order=cast("Order | None", getattr(arguments, "order", None)),
            area=cast("Area | None", arguments.region),
            usual=config.order,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _list(config: FiltersConfig, own: Path) -> int:
    """One line for each filter."""
    found = titles(config, own)
    if not found:
        raise ConfigError("no filter is here: fetch them (git checkout -- models/filters) or train one (docs/train.md)")
    width = max(len(name) for name in found)
    for name, title in found.items():
        print(f"{name:{width}}  {' '.join(title.split())}")
    return 0


async def _run(job: FilterJob, config: Config) -> FilterFigures:
    def open_finder() -> FaceFinder:
        return open_face_finder(config.faces.backend, crop_size=_CROP_PX, max_faces=config.faces.max_faces)

    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    work = FilterRun(job, open_finder)
    progress = ProgressLine(sys.stderr, MonotonicClock(), job.source.name, work.picture_rate)
    try:
        return await work.run(progress.show)
    finally:
        progress.end()


def _summary(job: FilterJob, figures: FilterFigures) -> str:
    passed = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(figures.passed.items()))
    unchanged = f" ({passed})" if passed else ""
    return (
        f"{job.output}: {figures.filtered} of {figures.pictures} pictures filtered by {job.chosen.name}{unchanged}, "
        f"{figures.media_s:.1f} s in {figures.wall_s:.1f} s, {figures.times_real_time:.1f} times real time"
    )


def _report(job: FilterJob, figures: FilterFigures) -> dict[str, object]:
    return {
        "source": str(job.source),
        "output": str(job.output),
        "filter": {**job.chosen.public(), "network": str(job.chosen.filter)},
        "frames": {
            "written": figures.pictures,
            "filtered": figures.filtered,
            "passed": figures.passed,
            "damaged_packets": figures.damaged,
        },
        "codecs": {"decoded_by_card": figures.on_card, "encoder": figures.encoder},
        "stages": {name: dataclasses.asdict(stage) for name, stage in figures.stages.items()},
        "media_s": figures.media_s,
        "wall_s": figures.wall_s,
        "times_real_time": figures.times_real_time,
        "warnings": list(figures.warnings),
    }
