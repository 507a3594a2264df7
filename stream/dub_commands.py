"""`visavis dub` and `visavis demo`: what they open, what they print, and the report they leave."""

import argparse
import asyncio
import dataclasses
import json
import signal
import sys
from pathlib import Path

from models.catalogue import LoadedEngine, terms_of
from stream.clock import MonotonicClock
from stream.config import Config, load_config
from stream.dub import Dub
from stream.dub_job import DubFigures, DubJob, check_paths
from stream.engine_commands import take_engine
from stream.engines import open_generator
from stream.errors import ConfigError
from stream.faces import FaceFinder, open_face_finder
from stream.media import Encoding
from stream.offset import file_offset_ms
from stream.progress import ProgressLine
from stream.side_by_side import write_side_by_side
from stream.voice import VoiceTrack

ASSETS = Path(__file__).parent / "assets"


def run(arguments: argparse.Namespace, cache_folder: Path | None, imported_folder: Path) -> int:
    """Run one of the two commands; 0 when everything was written.

    Raises:
        ConfigError, EngineError, MediaError: What the user must change; nothing was written.
    """
    config = take_engine(_config(arguments), arguments.engine, imported_folder)
    command = _demo if arguments.command == "demo" else _dub
    return command(arguments, config, cache_folder)


def _dub(arguments: argparse.Namespace, config: Config, cache_folder: Path | None) -> int:
    job = DubJob(
        source=arguments.source,
        voice=arguments.voice,
        output=arguments.output,
        mix_original_db=arguments.mix_original,
        overwrite=arguments.overwrite,
        keep_going=arguments.keep_going,
        render=config.render,
        encoding=Encoding(quality=arguments.quality),
    )
    _dub_and_report(job, config, arguments.report, cache_folder)
    return 0


def _demo(arguments: argparse.Namespace, config: Config, cache_folder: Path | None) -> int:
    folder: Path = arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made ({error.strerror}): choose another with -o") from error
    job = DubJob(
        source=ASSETS / "sample.mp4",
        voice=ASSETS / "voice.wav",
        output=folder / "dubbed.mp4",
        overwrite=True,
        render=config.render,
        encoding=Encoding(quality=arguments.quality),
    )
    _dub_and_report(job, config, arguments.report, cache_folder)
    beside = folder / "side_by_side.mp4"
    write_side_by_side(job.source, job.output, beside, job.encoding)
    print(f"{beside}: the original on the left, the dubbed clip on the right")
    return 0


def _config(arguments: argparse.Namespace) -> Config:
    """Read the configuration file and put what the command line says on top."""
    config = load_config(arguments.config)
    render = config.render
    if arguments.no_badge or arguments.badge is not None:
        render = dataclasses.replace(render, badge="" if arguments.no_badge else arguments.badge)
    if arguments.faces:
        render = dataclasses.replace(render, faces=arguments.faces)
    named = {key: getattr(arguments, key) for key in ("backend", "precision") if getattr(arguments, key)}
    return dataclasses.replace(config, render=render, engine=dataclasses.replace(config.engine, **named))


def _dub_and_report(job: DubJob, config: Config, report: Path | None, cache_folder: Path | None) -> None:
    check_paths(job)
    if report is not None and not report.parent.is_dir():
        raise ConfigError(f"the folder {report.parent} does not exist: choose another place for --report")
    engine = open_generator(config.engine, cache_folder)
    if terms := terms_of(engine):
        print(f"visavis: {terms}", file=sys.stderr)
    try:
        figures = asyncio.run(_run(job, config, engine))
    finally:
        engine.close()
    for warning in figures.warnings:
        print(f"visavis: warning: {warning}", file=sys.stderr)
    if report is not None:
        report.write_text(json.dumps(_report(job, figures, engine), indent=1) + "\n")
    print(_summary(job, figures))


async def _run(job: DubJob, config: Config, engine: LoadedEngine) -> DubFigures:
    size = int(engine.inputs["face"].shape[-1] or 0)

    def open_finder() -> FaceFinder:
        return open_face_finder(config.faces.backend, crop_size=size, max_faces=config.faces.max_faces)

    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    dub = Dub(job, engine, open_finder)
    progress = ProgressLine(sys.stderr, MonotonicClock(), job.source.name, dub.picture_rate)
    try:
        return await dub.run(progress.show)
    finally:
        progress.end()


def _summary(job: DubJob, figures: DubFigures) -> str:
    passed = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(figures.passed.items()))
    unchanged = f" ({passed})" if passed else ""
    return (
        f"{job.output}: {figures.made} of {figures.pictures} pictures re-voiced{unchanged}, "
        f"{figures.media_s:.1f} s in {figures.wall_s:.1f} s, {figures.times_real_time:.1f} times real time"
    )


def _report(job: DubJob, figures: DubFigures, engine: LoadedEngine) -> dict[str, object]:
    return {
        "source": str(job.source),
        "voice": str(job.voice),
        "output": str(job.output),
        "engine": {
            "name": engine.manifest.name,
            "backend": engine.backend,
            "precision": engine.precision,
            "threads": engine.threads,
            "checkpoint_sha256": engine.manifest.checkpoint.sha256,
        },
        "frames": {
            "written": figures.pictures,
            "re_voiced": figures.made,
            "passed": figures.passed,
            "damaged_packets": figures.damaged,
        },
        "stages": {name: dataclasses.asdict(stage) for name, stage in figures.stages.items()},
        "media_s": figures.media_s,
        "wall_s": figures.wall_s,
        "times_real_time": figures.times_real_time,
        "av_offset_ms": file_offset_ms(job.source, VoiceTrack.open(job.voice), job.output),
        "warnings": list(figures.warnings),
    }
