"""Reading sound from any file: whole for a voice, piece by piece for a clip's own sound track.

Every change of rate goes through libswresample with a long filter, and its
delay is compensated: sample k of the result is at k / rate.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from stream.errors import MediaError
from stream.media.opening import open_media, start_of

Samples = NDArray[np.float32]

# 64 taps instead of 32 put the transition band of 48 to 16 kHz above 7.6 kHz, the mel's highest frequency.
_FILTER = {"filter_size": "64", "cutoff": "0.97"}
# Gaps smaller than this are rounding of pts in the file, not silence.
_GAP_TOLERANCE_S = 0.02
_BLOCK = 8192


def decode_sound(source: Path | bytes, name: str, *, rate_hz: int = 48_000, longest_s: float | None = None) -> Samples:
    """Decode a whole sound file, or the sound of a clip, mixed to mono.

    Args:
        source: A path, or the bytes of a file.
        name: What messages call it.
        rate_hz: Samples a second of the result.
        longest_s: Longest sound accepted; decoding stops there.

    Returns:
        float32 [n] in [-1, 1], n >= 1; the first sample of the file is first.

    Raises:
        MediaError: It is missing, not media, without sound, without a single sample, or too long.
    """
    with open_media(source, name) as container:
        if not container.streams.audio:
            raise MediaError(f"{name} has no sound: expected a file with a sound track, such as WAV, FLAC or MP3")
        pieces, left = [], np.inf if longest_s is None else longest_s * rate_hz
        for _, piece in _pieces(container, name, rate_hz, channels=1):
            pieces.append(piece[0])
            left -= piece.shape[1]
            if left < 0:
                raise MediaError(f"{name} is longer than {longest_s:g} s: cut it, or raise the limit")
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples):
        raise MediaError(f"{name} holds no sound (0 s): record or export it again")
    return np.clip(samples, -1.0, 1.0)


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Change the rate of a mono sound, float32 [n], to float32 [ceil(n * to / from)]."""
    if from_hz == to_hz or not len(samples):
        return samples
    changed = np.zeros(-(-len(samples) * to_hz // from_hz), np.float32)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=to_hz, options=_FILTER)
    pieces = []
    for start in range(0, len(samples), _BLOCK):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, start : start + _BLOCK]), "fltp", "mono")
        frame.sample_rate = from_hz
        frame.pts = start
        frame.time_base = Fraction(1, from_hz)
        pieces += [each.to_ndarray()[0] for each in resampler.resample(frame)]
    pieces += [each.to_ndarray()[0] for each in resampler.resample(None)]
    # The filter's delay may swallow a last sample that is not on the new grid; a sound of one sample is all last.
    joined = np.concatenate([changed[:0], *pieces])[: len(changed)]
    changed[: len(joined)] = joined
    return changed


def _pieces(
    container: InputContainer, name: str, rate_hz: int, *, channels: int
) -> Iterator[tuple[Fraction | None, Samples]]:
    """Yield the time of each piece in seconds of the file's pts, and its samples, float32 [channels, n]."""
    layout = "mono" if channels == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz, options=_FILTER)
    try:
        for frame in _frames_then_none(container):
            for each in resampler.resample(frame):
                time_s = each.pts * each.time_base if each.pts is not None and each.time_base is not None else None
                yield time_s, np.asarray(each.to_ndarray(), np.float32)
    except ValueError as error:
        raise MediaError(f"{name} changes its sample rate or channels midway: export it with one format") from error


def _frames_then_none(container: InputContainer) -> Iterator[av.AudioFrame | None]:
    for packet in container.demux(container.streams.audio[0]):
        try:
            yield from (each for each in packet.decode() if isinstance(each, av.AudioFrame))
        except av.FFmpegError:
            continue
    yield None


class SoundReader:
    """The sound track of a clip as one gapless run from the clip's time zero.

    Args:
        path: The clip.
        rate_hz: Samples a second.
        channels: 1 or 2.

    Raises:
        MediaError: It cannot be read, or has no sound.
    """

    def __init__(self, path: Path, *, rate_hz: int = 48_000, channels: int = 2) -> None:
        self._container = open_media(path, path.name)
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError(f"{path.name} has no sound: expected a file with a sound track")
        self._rate_hz = rate_hz
        self._origin = start_of(self._container)
        self._pieces = _pieces(self._container, path.name, rate_hz, channels=channels)
        self._held = np.zeros((channels, 0), np.float32)
        self._written = 0

    def read(self, count: int) -> Samples:
        """Return the next `count` samples, float32 [channels, count]; silence after the end."""
        while self._held.shape[1] < count:
            piece = next(self._pieces, None)
            if piece is None:
                missing = count - self._held.shape[1]
                self._held = np.pad(self._held, ((0, 0), (0, missing)))
                break
            self._append(*piece)
        taken, self._held = self._held[:, :count], self._held[:, count:]
        return taken

    def read_rest(self) -> Samples:
        """Return all samples that are left, float32 [channels, n]."""
        taken = [self._held]
        for piece in self._pieces:
            self._held = self._held[:, :0]
            self._append(*piece)
            taken.append(self._held)
        self._held = self._held[:, :0]
        return np.concatenate(taken, axis=1)

    def _append(self, time_s: Fraction | None, piece: Samples) -> None:
        """Put a piece where its pts says: silence fills a gap, what overlaps or lies before zero is cut."""
        late = 0 if time_s is None else round((time_s - self._origin) * self._rate_hz) - self._written
        if late > _GAP_TOLERANCE_S * self._rate_hz:
            piece = np.pad(piece, ((0, 0), (late, 0)))
        elif -late > _GAP_TOLERANCE_S * self._rate_hz:
            piece = piece[:, -late:]
        self._held = np.concatenate([self._held, piece], axis=1)
        self._written += piece.shape[1]

    def close(self) -> None:
        """Close the file."""
        self._container.close()
