"""File mode with the real face finder on the bundled face: upright, turned, twice in one picture, or not at all."""

import asyncio
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from models import catalogue
from models.engine import Engine
from stream.dub import Dub
from stream.dub_job import DubFigures, DubJob
from stream.errors import MediaError
from stream.faces import open_face_finder
from stream.frames import Planes
from stream.media import ClipReader, Encoding
from stream.render import RenderOptions
from tests.stream.clip_maker import SAMPLE, VOICE, make_clip
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit

COUNT = 6


def write(path: Path, pictures: list[Planes], rotation: int = 0) -> Path:
    """Write planes without a loss; even sizes only."""
    height, width = pictures[0][0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, planes in enumerate(pictures):
            packed = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width)
            frame = av.VideoFrame.from_ndarray(packed, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sample() -> list[Planes]:
    return [frame.planes for frame in islice(ClipReader(SAMPLE).frames(), COUNT)]


def dub(source: Path, output: Path, engine: Engine | None = None) -> DubFigures:
    job = DubJob(
        source=source, voice=VOICE, output=output, render=RenderOptions(badge=""), encoding=Encoding(quality=0)
    )
    return asyncio.run(Dub(job, engine or FakeGenerator(), open_face_finder).run())


def changed(source: Path, output: Path) -> np.ndarray:
    """Pixels of luma that differ in the last picture; the output is lossless at quality 0."""
    before, after = (list(ClipReader(path).frames())[-1].planes[0] for path in (source, output))
    return before != after


def test_only_the_mouth_changes(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", sample())
    figures = dub(source, tmp_path / "out.mkv")
    rows, columns = np.nonzero(changed(source, tmp_path / "out.mkv"))
    assert figures.made == COUNT
    assert 180 < rows.min() < rows.max() < 400
    assert 300 < columns.min() < columns.max() < 520


@pytest.mark.parametrize("rotation", [90, 180])
def test_a_turned_face_is_found_upright(tmp_path: Path, rotation: int) -> None:
    turned = [tuple(np.ascontiguousarray(np.rot90(plane, -rotation // 90)) for plane in planes) for planes in sample()]
    source = write(tmp_path / "in.mkv", turned, rotation=rotation)  # type: ignore[arg-type]
    assert dub(source, tmp_path / "out.mkv").made == COUNT
    rows, columns = np.nonzero(changed(source, tmp_path / "out.mkv"))
    assert 180 < rows.min() < rows.max() < 400
    assert 300 < columns.min() < columns.max() < 520


def test_two_faces_both_speak(tmp_path: Path) -> None:
    twice = [tuple(np.hstack([plane, plane]) for plane in planes) for planes in sample()]
    source = write(tmp_path / "in.mkv", twice)  # type: ignore[arg-type]
    dub(source, tmp_path / "out.mkv")
    touched = changed(source, tmp_path / "out.mkv")
    assert touched[:, :720].any()
    assert touched[:, 720:].any()


@pytest.mark.parametrize(("width", "height"), [(16, 16), (160, 120)])
def test_a_clip_that_shows_nobody_is_refused(tmp_path: Path, width: int, height: int) -> None:
    source = make_clip(tmp_path / "in.mp4", width=width, height=height)
    with pytest.raises(MediaError, match="no face could be re-voiced"):
        dub(source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_the_shipped_generator_changes_the_mouth_and_nothing_else(tmp_path: Path) -> None:
    if "lipgan" not in catalogue.names():
        pytest.skip("no generator is shipped in this checkout")
    source = write(tmp_path / "in.mkv", sample())
    engine = catalogue.load_engine()
    figures = dub(source, tmp_path / "out.mkv", engine)
    engine.close()
    rows, columns = np.nonzero(changed(source, tmp_path / "out.mkv"))
    assert figures.made == COUNT
    assert 180 < rows.min() < rows.max() < 400
    assert 300 < columns.min() < columns.max() < 520
