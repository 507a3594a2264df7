"""Decoding and encoding a call's pictures, by the processor and by an NVIDIA card, by the classes of the live path.

Each codec's output is checked before it is timed: one picture in, one out, the profile and the level that the answer
promises, a keyframe where one was asked for. Milliseconds are those of one call, copies and packets included;
`processor_ms` is the processor's time in it, over all threads. What does not open is listed with its reason.

Where a card does both, a picture's whole way through it is measured too, as it is without lips: decoded, looked at,
marked, encoded; once in memory, and once with pictures that stay on the card, bit for bit the same before the encoder.
"""

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count as counting
from pathlib import Path

import av
import cv2
import numpy as np
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, Measurement, measure, rows, table, write_result
from kernels.cuda.device import DeviceError, open_device
from stream.badge import Badge
from stream.frames import NS_PER_S, Planes, VideoFrame
from stream.media import ClipReader
from stream.media.codec_device import CPU, Codecs, CodecsConfig, choose
from stream.transport.keyframes import is_keyframe
from stream.transport.video_codec import Codec, VideoDecoder, VideoEncoder

SIZES = ((480, 640), (720, 1280), (1080, 1920))
_SAMPLE = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
# Two seconds of a talking head, forwards and backwards: 190 MB at 1920x1080.
_PICTURES = 60
_STEP_NS = NS_PER_S // 30
_WARMUP = 10
# What a viewer calls clean; a codec that gives less is not the one that is meant to be timed.
_LEAST_DB = 30.0
_BASELINE_IDC = 66
_LEVEL_IDC = {(480, 640): 31, (720, 1280): 31}
_LARGER_LEVEL_IDC = 42
_PARAMETERS: dict[Codec, RTCRtpCodecParameters] = {
    "H264": RTCRtpCodecParameters(mimeType="video/H264", clockRate=90_000, payloadType=97),
    "VP8": RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=96),
}
Timed = Callable[[str, Codec, Sequence[VideoFrame], Codecs, int], Measurement]
# Asked for often, and not in PyAV's wheels.
_ABSENT = ("libopenh264",)


@dataclass(slots=True)
class Report:
    """What was measured, and what was not and why."""

    measured: list[Measurement] = field(default_factory=list)
    not_measured: list[dict[str, str]] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
        """Note that something could not be measured."""
        self.not_measured.append({"name": name, "reason": reason})


def pictures(height: int, width: int, count: int = _PICTURES) -> list[VideoFrame]:
    """The bundled clip's first pictures at a size."""
    frames = []
    for number, frame in zip(range(count), ClipReader(_SAMPLE).frames(), strict=False):
        y, u, v = (
            np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
            for plane, size in zip(frame.planes, [(width, height)] + [(width // 2, height // 2)] * 2, strict=True)
        )
        planes: Planes = (y, u, v)
        frames.append(VideoFrame(number * _STEP_NS, 0, "yuv420p", planes, frame.colour))
    return frames


def endless(frames: Sequence[VideoFrame]) -> Iterator[VideoFrame]:
    """Forwards and backwards without a cut, with pts that grow."""
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    for number in counting():
        yield replace(frames[order[number % len(order)]], pts_ns=number * _STEP_NS)


def data_of(codec: Codec, payloads: list[bytes]) -> bytes:
    """Put an access unit together again."""
    return b"".join(depayload(_PARAMETERS[codec], payload) for payload in payloads)


def psnr_db(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Peak signal to noise of one plane."""
    error = float(np.mean((found.astype(np.float64) - expected) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def check(codec: Codec, frames: Sequence[VideoFrame], codecs: Codecs) -> float:
    """Encode and decode a few pictures on one side, and return the least PSNR of their luma.

    Raises:
        RuntimeError: A promise of the live path is not kept.
    """
    encoder, decoder = VideoEncoder(codec, codecs=codecs), VideoDecoder(codec, codecs)
    worst_db, asked_at, source = np.inf, 5, endless(frames)
    for number in range(12):
        frame = next(source)
        encoded = encoder.encode(frame, frame.pts_ns, keyframe=number == asked_at)
        data = data_of(codec, encoded.payloads)
        _expect(is_keyframe(codec, data) == (number in (0, asked_at)), f"picture {number}: a keyframe, or none")
        if codec == "H264" and not number:
            _check_profile(data, frame)
        back = decoder.decode(data, frame.pts_ns)
        _expect(len(back) == 1, f"picture {number}: one in, {len(back)} out")
        worst_db = min(worst_db, psnr_db(back[0].planes[0], frame.planes[0]))
    _expect(worst_db >= _LEAST_DB, f"{worst_db:.1f} dB, expected {_LEAST_DB:g}")
    _expect(not encoder.fallbacks and not decoder.fallbacks, "the card was given up")
    return float(worst_db)


def _check_profile(data: bytes, frame: VideoFrame) -> None:
    """Read profile_idc and level_idc of the parameter set (ITU-T H.264, 7.3.2.1.1)."""
    at = data.index(b"\0\0\1\x67") + 4
    profile, level = data[at], data[at + 2]
    most = _LEVEL_IDC.get((frame.height, frame.width), _LARGER_LEVEL_IDC)
    _expect(profile == _BASELINE_IDC and level <= most, f"profile {profile} at level {level}, expected 66 at {most}")


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise RuntimeError(promise)


def time_encoder(name: str, codec: Codec, frames: Sequence[VideoFrame], codecs: Codecs, count: int) -> Measurement:
    """Time one encoder at its own choice of bitrate."""
    encoder, source, sizes = VideoEncoder(codec, codecs=codecs), endless(frames), list[int]()

    def run() -> None:
        frame = next(source)
        sizes.append(sum(map(len, encoder.encode(frame, frame.pts_ns).payloads)))

    row = _timed(name, run, count)
    _expect(not encoder.fallbacks, "the card was given up while it was timed")
    kbps = sum(sizes) * 8 * NS_PER_S / _STEP_NS / len(sizes) / 1000
    return replace(row, extra={**row.extra, "codec": encoder.name, "kbit_s": round(kbps)})


def time_decoder(name: str, codec: Codec, frames: Sequence[VideoFrame], codecs: Codecs, count: int) -> Measurement:
    """Time one decoder on what the processor's encoder made."""
    units = iter(_units(frames, count + _WARMUP, codec))
    decoder, number = VideoDecoder(codec, codecs), counting()
    row = _timed(name, lambda: decoder.decode(next(units), next(number)), count)
    _expect(not decoder.fallbacks, "the card was given up while it was timed")
    return replace(row, extra={**row.extra, "codec": decoder.name})


def check_kept(frames: Sequence[VideoFrame], codecs: Codecs) -> float:
    """Send a few pictures through the card both ways, and return the least PSNR of what stayed there.

    Raises:
        RuntimeError: A picture that stayed on the card differs from its copy, or did not stay there.
    """
    kept, copied = Way(codecs, keeps=True), Way(codecs, keeps=False)
    worst_db, back = np.inf, VideoDecoder("H264")
    for number, data in enumerate(_units(frames, 12)):
        one, other = kept.marked(data, number), copied.marked(data, number)
        _expect(one.on_card is not None and other.on_card is None, f"picture {number}: kept, and copied")
        same = all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
        _expect(same, f"picture {number}: the same on the card and in memory")
        encoded = kept.encoder.encode(one, one.pts_ns)
        (seen,) = back.decode(data_of("H264", encoded.payloads), number)
        worst_db = min(worst_db, psnr_db(seen.planes[0], other.planes[0]))
    _expect(worst_db >= _LEAST_DB, f"{worst_db:.1f} dB, expected {_LEAST_DB:g}")
    _expect(kept.encoder.from_card == 12 and not kept.fallbacks, "the card was given up")
    return float(worst_db)


class Way:
    """A picture's way through a card without lips: decoded, looked at as faces are found, marked, encoded."""

    def __init__(self, codecs: Codecs, *, keeps: bool) -> None:
        self.decoder = VideoDecoder("H264", codecs, keeps=lambda: keeps)
        self.encoder = VideoEncoder("H264", codecs=codecs)
        self._badge = Badge()

    def marked(self, data: bytes, number: int) -> VideoFrame:
        """The picture before it is encoded."""
        (frame,) = self.decoder.decode(data, number * _STEP_NS)
        _expect(bool(frame.planes), "planes")
        self._badge.draw(frame)
        return frame

    @property
    def fallbacks(self) -> int:
        """How often the card was given up."""
        return self.decoder.fallbacks + self.encoder.fallbacks


def time_way(name: str, frames: Sequence[VideoFrame], codecs: Codecs, count: int, *, keeps: bool) -> Measurement:
    """Time a picture's whole way through the card."""
    way, units, number = Way(codecs, keeps=keeps), iter(_units(frames, count + _WARMUP)), counting()

    def run() -> None:
        frame = way.marked(next(units), next(number))
        way.encoder.encode(frame, frame.pts_ns)

    row = _timed(name, run, count)
    _expect(not way.fallbacks, "the card was given up while it was timed")
    return replace(row, extra={**row.extra, "from_card": way.encoder.from_card})


def _units(frames: Sequence[VideoFrame], count: int, codec: Codec = "H264") -> list[bytes]:
    """Access units of the processor's encoder."""
    encoder, source = VideoEncoder(codec), endless(frames)
    made = [next(source) for _ in range(count)]
    return [data_of(codec, encoder.encode(frame, frame.pts_ns).payloads) for frame in made]


def _timed(name: str, run: Callable[[], object], count: int) -> Measurement:
    for _ in range(_WARMUP):
        run()
    begun_ns = time.process_time_ns()
    row = measure(name, run, warmup=0, count=count)
    processor_ms = (time.process_time_ns() - begun_ns) / count / 1e6
    return replace(row, extra={"warmup": _WARMUP, "processor_ms": round(processor_ms, 3)})


def run(codecs: Codecs, sizes: Sequence[tuple[int, int]] = SIZES, count: int = 200) -> Report:
    """Measure both sides; `codecs` is what the card can do."""
    report = Report()
    for height, width in sizes:
        frames = pictures(height, width)
        for codec in ("H264", "VP8"):
            _side(report, codec, frames, CPU, count)
            _side(report, codec, frames, codecs, count)
        _ways(report, frames, codecs, count)
    for name in _ABSENT:
        report.leave_out(f"encode H264, {name}", f"this FFmpeg {_has_no(name)}")
    return report


def _side(report: Report, codec: Codec, frames: Sequence[VideoFrame], codecs: Codecs, count: int) -> None:
    """Measure one codec on one side; each unit of a card stands beside the processor's other half."""
    card = codecs is not CPU
    where = f"{frames[0].width}x{frames[0].height}"
    encode, decode = (f"{where}: {work} {codec}, {'card' if card else 'processor'}" for work in ("encode", "decode"))
    reason = "; ".join(codecs.missing)
    if card and codec == "VP8":
        report.leave_out(encode, "no card encodes VP8")
    elif card and codecs.encode == "cpu":
        report.leave_out(encode, reason)
    else:
        _try(report, time_encoder, encode, codec, frames, replace(codecs, decode="cpu"), count)
    if card and codecs.decode == "cpu":
        report.leave_out(decode, reason)
    else:
        _try(report, time_decoder, decode, codec, frames, replace(codecs, encode="cpu"), count)


def _try(
    report: Report,
    timed: Timed,
    name: str,
    codec: Codec,
    frames: Sequence[VideoFrame],
    codecs: Codecs,
    count: int,
) -> None:
    """Check, then time; a broken promise is noted and not timed."""
    try:
        worst_db = check(codec, frames, codecs)
        row = timed(name, codec, frames, codecs, count)
    except RuntimeError as error:
        report.leave_out(name, str(error))
        return
    report.measured.append(replace(row, extra={**row.extra, "least_psnr_db": round(worst_db, 1)}))


def _ways(report: Report, frames: Sequence[VideoFrame], codecs: Codecs, count: int) -> None:
    """Measure a picture's way through the card, with pictures that cross the bus for it and with such that stay."""
    way = f"{frames[0].width}x{frames[0].height}: decode, mark and encode H264"
    if codecs.shared is None:
        report.leave_out(f"{way}, on the card", "; ".join(codecs.missing) or "the kernels cannot run on it")
        return
    try:
        worst_db = check_kept(frames, codecs)
        made = [
            time_way(f"{way}, {where}", frames, codecs, count, keeps=keeps)
            for where, keeps in (("in memory", False), ("on the card", True))
        ]
    except RuntimeError as error:
        report.leave_out(f"{way}, on the card", str(error))
        return
    report.measured += [replace(row, extra={**row.extra, "least_psnr_db": round(worst_db, 1)}) for row in made]


def with_kernels(codecs: Codecs) -> Codecs:
    """The same with pictures that stay on the card, where the kernels run there too."""
    if "cpu" in (codecs.decode, codecs.encode):
        return codecs
    try:
        device = open_device(codecs.card)
    except DeviceError as error:
        return replace(codecs, missing=(*codecs.missing, str(error)))
    return codecs.sharing(lambda: device, CodecsConfig().card_pictures_mb)


def _has_no(name: str) -> str:
    try:
        av.codec.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return "has none"
    return "has it, and no class of the live path uses it"


def card_name() -> str:
    """What nvidia-smi calls the cards and their driver, "" without it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run codecs", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="timed pictures for each codec")
    parser.add_argument("--card", type=int, default=0, help="number of the card")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    codecs = with_kernels(choose(CodecsConfig(device="auto", card=asked.card)))
    report = run(codecs, SIZES, asked.count)
    body = {
        "card": card_name(),
        "codecs": str(codecs),
        "rows": rows(report.measured),
        "not_measured": report.not_measured,
    }
    path = write_result("codecs", body, asked.results)
    print(table(report.measured))
    for each in report.not_measured:
        print(f"{each['name']}: not measured: {each['reason']}")
    print(path)
    return 0
