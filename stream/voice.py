"""The voice that is put into a mouth: 48 kHz for the ear and mel columns for the lips, from the same samples."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kernels.mel import LIPGAN_WINDOW, SAMPLE_RATE_HZ, MelWindow, mel_spectrogram, window_at
from stream.frames import NS_PER_S
from stream.media import decode_sound, resample

Samples = NDArray[np.float32]

EAR_RATE_HZ = 48_000


def add_at(heard: Samples, samples: Samples, offset: int) -> None:
    """Add to `heard`, in place, the part of `samples` that lies in it when their first one is at `offset`."""
    begin, end = max(offset, 0), min(offset + len(samples), len(heard))
    if begin < end:
        heard[begin:end] += samples[begin - offset : end - offset]


def sample_at(pts_ns: int) -> int:
    """The sample at 48 kHz that is nearest to a time; halves go to the later one."""
    return (2 * pts_ns * EAR_RATE_HZ + NS_PER_S) // (2 * NS_PER_S)


class VoiceTrack:
    """A whole voice on its own timeline; zero is its first sample, outside it is silent.

    Args:
        samples: float32 [n] mono at 48 kHz, n >= 1, full scale is [-1, 1].
        window: Mel columns that one picture sees; the engine's manifest names it.
    """

    def __init__(self, samples: Samples, window: MelWindow = LIPGAN_WINDOW) -> None:
        self._samples = samples
        self._window = window
        self._mel = mel_spectrogram(resample(samples, EAR_RATE_HZ, SAMPLE_RATE_HZ))

    @classmethod
    def open(
        cls, source: Path | bytes, *, name: str = "", longest_s: float | None = None, window: MelWindow = LIPGAN_WINDOW
    ) -> Self:
        """Decode any sound file, or the sound of a clip.

        Args:
            source: A path, or the bytes of a file.
            name: What messages call it; the file's own name if empty.
            longest_s: Longest voice accepted.
            window: Mel columns that one picture sees.

        Raises:
            MediaError: It is missing, not media, without sound, empty, or too long.
        """
        named = name or (source.name if isinstance(source, Path) else "the voice")
        return cls(decode_sound(source, named, rate_hz=EAR_RATE_HZ, longest_s=longest_s), window)

    @property
    def duration_ns(self) -> int:
        """Length of the voice."""
        return len(self._samples) * NS_PER_S // EAR_RATE_HZ

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = EAR_RATE_HZ) -> Samples:
        """Return float32 [count] from the sample nearest to `pts_ns` on.

        Raises:
            ValueError: `sample_rate_hz` is not 48000, the only rate kept for the ear.
        """
        if sample_rate_hz != EAR_RATE_HZ:
            raise ValueError(f"a voice is heard at {EAR_RATE_HZ} Hz, not at {sample_rate_hz}")
        heard = np.zeros(count, np.float32)
        add_at(heard, self._samples, -sample_at(pts_ns))
        return heard

    def mel(self, pts_ns: int) -> NDArray[np.float32]:
        """Return the columns that the picture at `pts_ns` sees, float32 [80, columns]."""
        return window_at(self._mel, pts_ns, self._window)
