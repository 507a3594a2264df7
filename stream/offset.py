"""The signed A/V offset of a written file, measured on the file itself.

Offset = time of the sound minus time of the picture that belongs to it;
positive: the sound is late.
"""

from pathlib import Path

import numpy as np

from stream.frames import NS_PER_S
from stream.media import SoundReader, picture_times_ns
from stream.passage import Spoken
from stream.voice import EAR_RATE_HZ

# The part of the voice that is looked for, and how far away from its place.
_LISTEN_S = 10
_REACH_S = 1
# Below this there is nothing to be recognised by (-60 dB of full scale).
_AUDIBLE = 1e-3


def file_offset_ms(source: Path, voice: Spoken, output: Path) -> float | None:
    """Measure how far the voice in `output` lies from where it belongs to its pictures.

    The voice belongs at time zero of `source`, and each picture keeps its time.

    Returns:
        Milliseconds, or None where the voice's first seconds are silent.

    Raises:
        MediaError: A file cannot be read.
    """
    sound_ms = _sound_late_ms(output, voice)
    return None if sound_ms is None else sound_ms - _pictures_late_ms(source, output)


def _sound_late_ms(output: Path, voice: Spoken) -> float | None:
    """Find the peak of the cross-correlation between the voice and the file's sound, to one sample."""
    count = _LISTEN_S * EAR_RATE_HZ
    reader = SoundReader(output, rate_hz=EAR_RATE_HZ, channels=1)
    heard = reader.read(count + _REACH_S * EAR_RATE_HZ)[0]
    reader.close()
    spoken = voice.audio(0, count)
    if np.abs(spoken).max() < _AUDIBLE or np.abs(heard).max() < _AUDIBLE:
        return None
    size = 1 << (len(heard) + count).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken, size)), size)
    reach = _REACH_S * EAR_RATE_HZ
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    return (int(np.argmax(near)) - reach) * 1000 / EAR_RATE_HZ


def _pictures_late_ms(source: Path, output: Path) -> float:
    """Median difference between the pts of the two files' pictures; 0 where every pts was kept."""
    before, after = picture_times_ns(source), picture_times_ns(output)
    count = min(len(before), len(after))
    return float(np.median(np.subtract(after[:count], before[:count]))) * 1000 / NS_PER_S
