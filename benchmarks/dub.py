"""Speed of file mode: `python -m benchmarks run dub [--clip FILE] [--voice FILE] [--times N]`.

Beside the wall time stands the processor time of the whole process: on a
machine that others use too, it tells what an idle one would do.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.av_lag import finder_for
from benchmarks.harness import write_result
from models.catalogue import LoadedEngine, load_engine
from stream.dub import Dub
from stream.dub_commands import ASSETS
from stream.dub_job import DubJob
from stream.media import ClipReader


def measure(clip: Path, voice: Path, engine: LoadedEngine) -> dict[str, Any]:
    """Dub once, from the first check to the finished file, the loading of the face networks included."""
    with tempfile.TemporaryDirectory() as folder:
        job = DubJob(source=clip, voice=voice, output=Path(folder) / "dubbed.mp4")
        start_s, busy_s = time.perf_counter(), time.process_time()
        figures = asyncio.run(Dub(job, engine, lambda: finder_for(engine)).run())
        wall_s, busy_s = time.perf_counter() - start_s, time.process_time() - busy_s
    cores = len(os.sched_getaffinity(0))
    return {
        "pictures": figures.pictures,
        "re_voiced": figures.made,
        "media_s": figures.media_s,
        "wall_s": wall_s,
        "times_real_time": figures.media_s / wall_s,
        "processor_s": busy_s,
        "core_ms_per_picture": 1000 * busy_s / figures.pictures,
        "share_of_the_cores": busy_s / wall_s / cores,
        "stages": {name: asdict(stage) for name, stage in figures.stages.items()},
    }


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write one JSON; 1 if no face was re-voiced, for then nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run dub", description=__doc__)
    parser.add_argument("--clip", type=Path, default=ASSETS / "sample.mp4")
    parser.add_argument("--voice", type=Path, default=ASSETS / "voice.wav")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args(list(argv))
    engine = load_engine()
    runs = [measure(arguments.clip, arguments.voice, engine) for _ in range(arguments.times)]
    for run in runs:
        print(
            f"{run['times_real_time']:.2f} times real time, {run['core_ms_per_picture']:.1f} core-ms per picture, "
            f"{100 * run['share_of_the_cores']:.0f} % of the cores, {run['re_voiced']} of {run['pictures']} re-voiced"
        )
    size = ClipReader(arguments.clip).format
    print(write_result("dub", {"size": [size.width, size.height], "engine": str(engine), "runs": runs}))
    engine.close()
    return 0 if all(run["re_voiced"] for run in runs) else 1
