"""`visavis dub` and `visavis demo`: what they open, what they print, and the report they leave."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kernels.mel import LIPGAN_WINDOW
from models.catalogue import LoadedEngine, mel_window, terms_of
from stream.clock import MonotonicClock
from stream.config import Config, load_config
from stream.dub import Dub
from stream.dub_job import DubFigures, DubJob, check_paths, open_voice
from stream.dub_translated import (
    TranslatedVoice,
    Translation,
    captions_of,
    check_source,
    check_translation,
    check_voice,
    figures_of,
    hear,
    source_captions_of,
    summary_of,
    voiced,
    warnings_of,
    write_captions,
    write_sound,
)
from stream.engine_commands import take_engine
from stream.engines import open_generator
from stream.errors import BackEndError, ConfigError
from stream.faces import FaceFinder, open_face_finder
from stream.filter_commands import chosen_codecs, chosen_filter, covering_filter, mark_of
from stream.filters import Chosen
from stream.frames import NS_PER_S
from stream.media import Encoding
from stream.media.codec_device import Codecs
from stream.offset import file_offset_ms
from stream.progress import ProgressLine
from stream.side_by_side import write_side_by_side
from stream.soundtrack import Ducking
from stream.speech.chain import Chain, open_chain
from stream.speech.offline import WholeDub

ASSETS = Path(__file__).parent / "assets"


@dataclasses.dataclass(frozen=True, slots=True)
class _Filters:
    """What pictures are drawn with, and in place of that where a mouth is covered; None for nothing."""

    chosen: Chosen | None
    when_covered: Chosen | None


def run(
    arguments: argparse.Namespace, cache_folder: Path | None, imported_folder: Path, models: Path, own_filters: Path
) -> int:
    """Run one of the two commands; 0 when everything was written.

    Args:
        arguments: What was asked for.
        cache_folder: Where compiled networks are kept between starts; None keeps none.
        imported_folder: Where this user's engines lie.
        models: Where `visavis models` keeps models of speech.
        own_filters: Where this user's filters lie.

    Raises:
        ConfigError, EngineError, MediaError: What the user must change; nothing was written.
    """
    config = take_engine(_config(arguments), arguments.engine, imported_folder)
    codecs = chosen_codecs(arguments, config)
    if arguments.command == "demo":
        return _demo(arguments, config, codecs, cache_folder)
    with (
        chosen_filter(arguments, config, cache_folder, own_filters) as chosen,
        covering_filter(config.filters, cache_folder, own_filters) as when_covered,
    ):
        filters = _Filters(chosen, when_covered)
        if arguments.to is None:
            return _dub(arguments, config, codecs, cache_folder, filters)
        return _translate(arguments, config, codecs, cache_folder, models, filters)


def _dub(
    arguments: argparse.Namespace, config: Config, codecs: Codecs, cache_folder: Path | None, filters: _Filters
) -> int:
    job = DubJob(
        source=arguments.source,
        voice=arguments.voice,
        output=arguments.output,
        mix_original_db=arguments.mix_original,
        overwrite=arguments.overwrite,
        keep_going=arguments.keep_going,
        render=config.render,
        encoding=Encoding(quality=arguments.quality),
        codecs=codecs,
        filter=filters.chosen,
        filter_mark=mark_of(arguments, config),
        when_covered=filters.when_covered,
    )
    _dub_and_report(job, config, arguments.report, cache_folder)
    return 0


def _translate(
    arguments: argparse.Namespace,
    config: Config,
    codecs: Codecs,
    cache_folder: Path | None,
    models: Path,
    filters: _Filters,
) -> int:
    wanted = Translation(
        source=arguments.source,
        targets=arguments.to,
        output=arguments.output,
        language=arguments.source_language or "en",
        captions=arguments.captions,
        source_captions=arguments.source_captions,
        voice=arguments.speaker_voice,
        overwrite=arguments.overwrite,
        **({} if arguments.duck is None else {"duck": arguments.duck}),
    )
    check_translation(wanted)
    _check_report(arguments.report)
    check_source(wanted, keep_going=arguments.keep_going)
    clock = MonotonicClock()
    try:
        back_ends = config.dubbing.back_ends(models)
        chain = open_chain(wanted.language, wanted.targets, clock, back_ends, untranslated=False)
    except BackEndError as error:
        raise ConfigError(f"a speech back end cannot be started: {error}") from error
    try:
        check_voice(wanted, chain)
        for note in chain.notes:
            print(f"visavis: {note}", file=sys.stderr)
        with contextlib.ExitStack() as stack:
            engine = None if wanted.sound_only else stack.enter_context(_engine(config, cache_folder))
            _translate_heard(arguments, config, codecs, wanted, chain, engine, filters)
    finally:
        chain.close()
    return 0


def _translate_heard(
    arguments: argparse.Namespace,
    config: Config,
    codecs: Codecs,
    wanted: Translation,
    chain: Chain,
    engine: LoadedEngine | None,
    filters: _Filters,
) -> None:
    """Hear the clip once, then dub it into one language after the other."""
    clock = MonotonicClock()
    source = hear(wanted, chain, clock)
    if wanted.source_captions is not None:
        write_captions(source_captions_of(source), wanted.source_captions)
    for target in wanted.targets:
        start_ns = clock.now_ns()
        spoken = voiced(wanted, source, chain, target, LIPGAN_WINDOW if engine is None else mel_window(engine))
        spoke_s = (clock.now_ns() - start_ns) / NS_PER_S
        output = wanted.named(wanted.output, target)
        report = None if arguments.report is None else wanted.named(arguments.report, target)
        extra = {**figures_of(source, spoken, target), "spoke_s": spoke_s}
        if engine is None:
            write_sound(wanted, source, spoken, output)
            _warn(warnings_of(source, spoken))
            if report is not None:
                report.write_text(json.dumps({"output": str(output), "dub": extra}, indent=1) + "\n")
            print(f"{output}: {source.length_ns / NS_PER_S:.1f} s of sound")
        else:
            job = _translated_job(arguments, config, codecs, wanted, spoken, output, filters)
            _make(job, config, engine, report, warnings=warnings_of(source, spoken), dub=extra)
        if wanted.captions is not None:
            write_captions(captions_of(spoken, target), wanted.named(wanted.captions, target))
        print(summary_of(source, spoken, target))


def _translated_job(
    arguments: argparse.Namespace,
    config: Config,
    codecs: Codecs,
    wanted: Translation,
    spoken: WholeDub,
    output: Path,
    filters: _Filters,
) -> DubJob:
    voice = TranslatedVoice(spoken)
    return DubJob(
        source=wanted.source,
        voice=voice,
        output=output,
        ducking=Ducking(wanted.duck, voice.spans),
        overwrite=wanted.overwrite,
        keep_going=arguments.keep_going,
        render=config.render,
        encoding=Encoding(quality=arguments.quality),
        codecs=codecs,
        filter=filters.chosen,
        filter_mark=mark_of(arguments, config),
        when_covered=filters.when_covered,
    )


def _demo(arguments: argparse.Namespace, config: Config, codecs: Codecs, cache_folder: Path | None) -> int:
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
        codecs=codecs,
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
    _check_report(report)
    with _engine(config, cache_folder) as engine:
        _make(job, config, engine, report)


def _check_report(report: Path | None) -> None:
    if report is not None and not report.parent.is_dir():
        raise ConfigError(f"the folder {report.parent} does not exist: choose another place for --report")


@contextlib.contextmanager
def _engine(config: Config, cache_folder: Path | None) -> Iterator[LoadedEngine]:
    """The generator, with its terms told."""
    engine = open_generator(config.engine, cache_folder)
    try:
        if terms := terms_of(engine):
            print(f"visavis: {terms}", file=sys.stderr)
        yield engine
    finally:
        engine.close()


def _make(
    job: DubJob,
    config: Config,
    engine: LoadedEngine,
    report: Path | None,
    *,
    warnings: Sequence[str] = (),
    dub: Mapping[str, object] | None = None,
) -> None:
    """Run a job and tell what came of it.

    Args:
        job: What to dub.
        config: Who finds the faces.
        engine: The generator.
        report: Where figures go.
        warnings: What is to be told beside the job's own.
        dub: Figures of a translation.
    """
    figures = asyncio.run(_run(job, config, engine))
    figures = dataclasses.replace(figures, warnings=(*warnings, *figures.warnings))
    _warn(figures.warnings)
    if report is not None:
        told = _report(job, figures, engine) | ({} if dub is None else {"dub": dub})
        report.write_text(json.dumps(told, indent=1) + "\n")
    print(_summary(job, figures))


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"visavis: warning: {warning}", file=sys.stderr)


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
    filtered = "" if job.filter is None else f"{figures.filtered} filtered by {job.filter.name}, "
    if job.when_covered is not None:
        filtered += f"{figures.covered} with a covered mouth drawn by {job.when_covered.name}, "
    return (
        f"{job.output}: {figures.made} of {figures.pictures} pictures re-voiced{unchanged}, {filtered}"
        f"{figures.media_s:.1f} s in {figures.wall_s:.1f} s, {figures.times_real_time:.1f} times real time"
    )


def _told(key: str, chosen: Chosen | None) -> dict[str, object]:
    return {} if chosen is None else {key: {**chosen.public(), "network": str(chosen.filter)}}


def _report(job: DubJob, figures: DubFigures, engine: LoadedEngine) -> dict[str, object]:
    return {
        "source": str(job.source),
        "voice": str(job.voice) if isinstance(job.voice, Path) else None,
        "output": str(job.output),
        "engine": {
            "name": engine.manifest.name,
            "backend": engine.backend,
            "precision": engine.precision,
            "threads": engine.threads,
            "checkpoint_sha256": engine.manifest.checkpoint.sha256,
        },
        "codecs": {"decoded_by_card": figures.on_card, "encoder": figures.encoder},
        "frames": {
            "written": figures.pictures,
            "re_voiced": figures.made,
            "passed": figures.passed,
            "damaged_packets": figures.damaged,
            **({} if job.filter is None else {"filtered": figures.filtered, "unfiltered": figures.unfiltered}),
            **(
                {}
                if job.when_covered is None
                else {"covered": figures.covered, "covered_passed": figures.covered_passed}
            ),
        },
        **_told("filter", job.filter),
        **_told("when_covered", job.when_covered),
        "stages": {name: dataclasses.asdict(stage) for name, stage in figures.stages.items()},
        "media_s": figures.media_s,
        "wall_s": figures.wall_s,
        "times_real_time": figures.times_real_time,
        "av_offset_ms": file_offset_ms(job.source, open_voice(job, LIPGAN_WINDOW), job.output),
        "warnings": list(figures.warnings),
    }
