"""What FFmpeg and PyAV themselves do with pictures that stay on a card; only the driver is a stand-in.

This is what keeping and drawing in them rests on: that a decoded picture is a copy, whose it is, and what of it NVENC
is given. It runs in a process of its own, which finds the stand-in where it looks for the driver.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

pytestmark = pytest.mark.unit

HERE = Path(__file__).parent
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1")
PRIMARY = 0x1000


def driver_unit() -> str:
    """The stand-in with every other call that the installed FFmpeg looks for, which then refuses."""
    source = (HERE / "driver_stand_in.cpp").read_text()
    libraries = [path for stem in ("libavutil", "libavcodec") for path in _folder().glob(f"{stem}*")]
    assert len(libraries) == 2
    found = {name for path in libraries for name in re.findall(rb"\0(cu(?:vid)?[A-Z]\w+)(?=\0)", path.read_bytes())}
    names = sorted(name.decode() for name in found)
    rest = [f"int {name}() {{ return 801; }}" for name in names if not re.search(rf"\b{name}\(", source)]
    return "\n".join([source, 'extern "C" {', *rest, "}"])


def _folder() -> Path:
    return Path(av.__file__).parents[1] / "av.libs"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `with_driver.py` found."""
    if not _folder().is_dir():
        pytest.skip("this PyAV was not installed from a wheel: where its FFmpeg lies is not known")
    folder = tmp_path_factory.mktemp("driver")
    unit, first = folder / "driver.cpp", folder / LIBRARIES[0]
    unit.write_text(driver_unit())
    line = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", str(unit), "-o", str(first)]
    made = subprocess.run(line, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    for name in LIBRARIES[1:]:
        (folder / name).symlink_to(first)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.stream.with_driver"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=HERE.parents[1],
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_decoded_picture_is_a_copy_in_the_engines_context(codec: str, found: Any) -> None:
    kept = found[codec]
    assert (kept["side"], kept["format"], kept["size"]) == ("nvidia", ["cuda", "nv12"], [120, 160])
    assert kept["context"] == PRIMARY
    # NVDEC's own surface has been given back: what is drawn in the copy no later picture is predicted from.
    assert kept["mapped"] == 0
    assert found["mapped where no copy is made"] == 1


@pytest.mark.parametrize(("codec", "rows"), [("H264", 128), ("VP8", 120)])
def test_its_planes_are_where_they_are_said_to_be_and_come_down_as_decoded(codec: str, rows: int, found: Any) -> None:
    kept = found[codec]
    assert (kept["rows between planes"], kept["pairs"]) == (rows, [1, 2, 2])
    assert (kept["first"], kept["second"], kept["third"]) == (True, True, True)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_what_is_drawn_in_it_is_seen_in_it_alone_and_its_room_is_used_again(codec: str, found: Any) -> None:
    kept = found[codec]
    assert (kept["drawn"], kept["beside"], kept["apart"]) == (True, True, True)
    assert kept["room used again"]
    assert kept["taken at the end"] == 0


def test_the_encoder_is_given_what_lies_on_the_card_and_what_comes_from_memory(found: Any) -> None:
    encoded = found["encoded"]
    # The rows as they lie, so that pairs are where NVENC looks; NV12; a keyframe where one is asked for.
    sizes, first_samples = zip(*(each.split(": ") for each in encoded["said"]), strict=True)
    assert sizes == (
        "160x128, format 1, flags 0",
        "160x120, format 1, flags 0",
        "160x128, format 1, flags 0",
        "160x128, format 1, flags 2",
    )
    luma, pairs = zip(*(map(int, each.split()) for each in first_samples), strict=True)
    assert (luma[1] - luma[0], luma[2], luma[3] - luma[1]) == (1, 99, 2)
    assert [b - a for a, b in itertools.pairwise(pairs)] == [1, 1, 1]
    assert (encoded["from_card"], encoded["fallbacks"], encoded["restarts"]) == (3, 0, 0)


def test_an_encoder_has_to_be_opened_before_its_first_picture(found: Any) -> None:
    """PyAV gives it that picture's pool, whose format is not the encoder's (`encode_preinit_video` refuses)."""
    assert found["opened by a picture"] == "ArgumentError"


def test_a_primary_context_with_other_flags_is_refused_and_a_codec_alone_takes_its_own(found: Any) -> None:
    assert found["not shared"]["format"] == "nv12"


def test_nothing_stays_on_the_card(found: Any) -> None:
    assert found["rooms"] == 0
