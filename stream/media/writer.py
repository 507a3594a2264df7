"""Writing a dubbed clip: H.264 and AAC, the clip's own pts, labelled as synthetic, whole or not at all.

A file appears under its final name only when it is complete: it is written
beside it under a name that starts with a dot and ends in `.partial`.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError, MediaError
from stream.frames import NS_PER_S, VideoFrame
from stream.media import nvenc
from stream.media.clip import ClipFormat
from stream.media.codec_device import CARD_FAULTS, CPU, CardFault, Codecs, cuda_device
from stream.media.picture import encodable

Samples = NDArray[np.float32]

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
SOUND_RATE_HZ = 48_000
_SOUND_BLOCK = 1024
_X264, _VP9 = "libx264", "libvpx-vp9"
_KEPT_TAGS = ("title", "artist", "copyright", "date", "creation_time")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a clip is encoded.

    Attributes:
        quality: x264's constant rate factor, 0 (lossless) to 51; 18 is hardly seen, 23 is x264's own default.
        preset: x264's speed. On two cores `veryfast` leaves most of the time to the faces.
        sound_bitrate_bps: AAC, all channels together.
    """

    quality: float = 20.0
    preset: str = "veryfast"
    sound_bitrate_bps: int = 128_000


def check_destination(path: Path, *, overwrite: bool, endings: Iterable[str] = CONTAINERS) -> None:
    """Refuse a destination before any work is done.

    Raises:
        ConfigError: Its ending is unknown, its folder missing or closed to us, or it exists and may not be overwritten.
    """
    if path.suffix.lower() not in endings:
        raise ConfigError(f"{path.name} ends in {path.suffix or 'nothing'!r}, expected one of {', '.join(endings)}")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist: create it or choose another output")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected the name of a file to write")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"the folder {path.parent} may not be written to: choose another output")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists: give --overwrite or another name")


class ClipWriter:
    """One clip being written.

    Args:
        path: Final name; `check_destination` has passed it.
        clip: Size, pts and colour of the pictures.
        channels: Channels of the sound, 1 or 2; 0 for none.
        tags: Tags of the source file; those that name its author are kept.
        label: The sentence that says that the clip is synthetic, stored as its comment.
        encoding: How it is encoded.
        codecs: Who encodes the picture.

    Attributes:
        encoder: FFmpeg's name of the picture's encoder.
        note: Why it is not the card's although the card was to be used if it can, "" otherwise.

    Raises:
        ConfigError: The card was asked for and cannot encode pictures of this size.
        MediaError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        clip: ClipFormat,
        *,
        channels: int,
        tags: Mapping[str, str],
        label: str,
        encoding: Encoding = Encoding(),
        codecs: Codecs = CPU,
    ) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._clip = clip
        self._layout = "mono" if channels == 1 else "stereo"
        self._samples = 0
        self._pending = np.zeros((channels, 0), np.float32)
        self.note = ""
        self.encoder = self._choose(codecs, encoding)
        kind = CONTAINERS[path.suffix.lower()]
        try:
            self._container = av.open(str(self._partial), "w", format=kind, options=_container_options(kind, clip))
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._container.metadata.update({key: tags[key] for key in _KEPT_TAGS if key in tags})
        self._container.metadata["comment"] = "; ".join([label, *_credit(tags)])
        if kind == "matroska":
            self._container.metadata["synthetic"] = label
        try:
            self._video = self._add_video(encoding, codecs.card)
        except CARD_FAULTS as error:
            self.abort()
            raise self._failed(error) from error
        self._audio = self._add_audio(encoding, channels) if channels else None

    def _add_audio(self, encoding: Encoding, channels: int) -> av.AudioStream:
        stream = self._container.add_stream("aac", rate=SOUND_RATE_HZ, layout=self._layout)
        stream.bit_rate = encoding.sound_bitrate_bps * channels // 2
        return stream

    def _choose(self, codecs: Codecs, encoding: Encoding) -> str:
        """H.264, or VP9 where a side is odd, which H.264 4:2:0 cannot hold at its exact size.

        The card's encoder is tried at this clip's size first: once the file is begun it cannot be exchanged.
        """
        clip = self._clip
        odd = clip.width % 2 or clip.height % 2
        if codecs.encode == "cpu":
            return _VP9 if odd else _X264
        try:
            if odd:
                raise CardFault("one of its sides is odd, which takes VP9, and no card encodes that")
            context = codecs.open(nvenc.ENCODER, "w", codecs.card)
            self._set(context)
            context.options = nvenc.file_options(encoding.quality)
            context.open()
        except CARD_FAULTS as error:
            reason = f"NVENC cannot encode {self._path.name}, {clip.width}x{clip.height} ({error})"
            if codecs.strict:
                raise ConfigError(f"{reason}. Give --codecs auto or --codecs cpu") from error
            self.note = f"{reason}: the processor does"
            return _VP9 if odd else _X264
        return nvenc.ENCODER

    def _add_video(self, encoding: Encoding, card: int) -> av.VideoStream:
        options = {_VP9: _vp9(encoding), _X264: _x264(encoding)}.get(self.encoder)
        on_card = options is None
        stream = cast(
            "av.VideoStream",
            self._container.add_stream(
                self.encoder,
                rate=self._clip.rate,
                options=nvenc.file_options(encoding.quality) if options is None else options,
                hwaccel=cuda_device(card) if on_card else None,
            ),
        )
        self._set(stream.codec_context)
        stream.time_base = self._clip.time_base
        return stream

    def _set(self, context: Any) -> None:  # noqa: ANN401 - av's classes differ between stubs
        """Give a codec's context the size, the clock and the colour of the clip."""
        clip = self._clip
        context.width, context.height, context.pix_fmt = clip.width, clip.height, "yuv420p"
        context.framerate = clip.rate
        context.time_base = clip.time_base
        if clip.pixel_aspect:
            context.sample_aspect_ratio = clip.pixel_aspect
        context.color_range = 2 if clip.colour.full_range else 1
        context.colorspace, context.color_primaries = clip.tags.matrix, clip.tags.primaries
        context.color_trc = clip.tags.transfer

    def write_picture(self, frame: VideoFrame) -> None:
        """Encode one picture at its own pts.

        Raises:
            MediaError: It cannot be written, most often because the disk is full.
        """
        picture = encodable(frame.planes)
        picture.pts = round(Fraction(frame.pts_ns, NS_PER_S) / self._clip.time_base)
        picture.time_base = self._clip.time_base
        self._encode(self._video, picture)

    def write_sound(self, samples: Samples) -> None:
        """Encode the samples that follow those before, float32 [channels, n] at 48 kHz.

        Raises:
            MediaError: It cannot be written, most often because the disk is full.
        """
        if self._audio is None:
            return
        self._pending = np.concatenate([self._pending, samples], axis=1)
        whole = self._pending.shape[1] // _SOUND_BLOCK * _SOUND_BLOCK
        self._encode_sound(self._pending[:, :whole])
        self._pending = self._pending[:, whole:]

    def _encode_sound(self, samples: Samples) -> None:
        if self._audio is None:
            return
        for start in range(0, samples.shape[1], _SOUND_BLOCK):
            block = np.ascontiguousarray(samples[:, start : start + _SOUND_BLOCK])
            frame = av.AudioFrame.from_ndarray(block, "fltp", self._layout)
            frame.sample_rate = SOUND_RATE_HZ
            frame.pts = self._samples
            frame.time_base = Fraction(1, SOUND_RATE_HZ)
            self._samples += block.shape[1]
            self._encode(self._audio, frame)

    def _encode(self, stream: av.VideoStream | av.AudioStream, frame: av.VideoFrame | av.AudioFrame | None) -> None:
        try:
            self._container.mux(stream.encode(frame))  # type: ignore[arg-type]
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """Complete the file and give it its final name.

        Raises:
            MediaError: It cannot be written; nothing is left behind.
        """
        self._encode_sound(self._pending)
        self._encode(self._video, None)
        if self._audio is not None:
            self._encode(self._audio, None)
        try:
            self._container.close()
            _sync(self._partial)
            self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        # The trailer cannot be written to a full disk, and nobody will read it.
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        self._partial.unlink(missing_ok=True)

    def _failed(self, error: Exception) -> MediaError:
        number = getattr(error, "errno", None)
        if number == errno.ENOSPC:
            return MediaError(f"no space left for {self._path}: free some, or write to another disk with -o")
        if self.encoder == nvenc.ENCODER:
            return MediaError(f"{self._path} cannot be written by NVENC ({error}): write it again with --codecs cpu")
        reason = os.strerror(number) if isinstance(number, int) and number in errno.errorcode else str(error)
        return MediaError(f"{self._path} cannot be written ({reason}): choose another output")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def _container_options(kind: str, clip: ClipFormat) -> dict[str, str]:
    """Index first, so that a browser plays at once; ticks of the source, so that pts are kept exactly."""
    if kind == "matroska":
        return {}
    return {"movflags": "+faststart", "video_track_timescale": str(clip.time_base.denominator)}


def _x264(encoding: Encoding) -> dict[str, str]:
    return {"crf": f"{encoding.quality:g}", "preset": encoding.preset}


def _vp9(encoding: Encoding) -> dict[str, str]:
    """The same visible quality on VP9's scale (0 to 63), at its real-time speed."""
    quality = min(63, round(encoding.quality * 1.4))
    return {"crf": str(quality), "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}


def _credit(tags: Mapping[str, str]) -> list[str]:
    return [f"source: {tags['comment']}"] if "comment" in tags else []


def _sync(path: Path) -> None:
    """Have the disk accept every byte before the file gets its name: some report a full disk only here."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
