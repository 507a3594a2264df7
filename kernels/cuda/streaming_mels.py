"""Mel columns of many sessions at once, on a device.

A tick of 64 sessions with 40 ms each copies 358 kB of sound and 2 kB of jobs up and 82 kB of columns back, in three
copies and two launches. A session's tail of 600 to 799 samples stays on the host and is copied again with the next
piece: a ring on the device would save half of what goes up, for a table of where each begins.
"""

import ctypes
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kernels.cuda.device import Device
from kernels.cuda.mel_jobs import MelJob, launch_mels, samples_of, spectrum_bytes, upload_tables
from kernels.mel import BANDS, HOP, N_FFT, Mel, Samples

# Four columns are what 40 ms complete at most.
_COLUMNS = 4


@dataclass(slots=True)
class _Sound:
    """What a session has still to hear of its sound: half a frame of silence comes first."""

    pending: Samples
    received: int = 0
    emitted: int = 0


@dataclass(slots=True)
class _Piece:
    """`count` columns of one session on their way, `done` of them `made`; behind the samples there is silence."""

    samples: Samples
    count: int
    done: int = 0
    made: list[Mel] = field(default_factory=list)


class StreamingMels:
    """`StreamingMel` for many sessions at once, on a device; a session joins with its first piece.

    The columns of a session's pushes and its flush, joined, are those of one push of the joined pieces, bit for bit:
    each is computed from its own 800 samples. The tail that later columns hear again stays on the host.

    Args:
        device: Where.
        sessions: How many are computed in one launch; more take another.
        columns: How many of each; longer pieces take another launch.
    """

    def __init__(self, device: Device, sessions: int = 64, columns: int = _COLUMNS) -> None:
        self._device, self._columns = device, columns
        self._sounds: dict[Hashable, _Sound] = {}
        self._heard = device.pinned((sessions, samples_of(columns)), np.float32)
        self._mels = device.pinned((sessions, columns, BANDS), np.float32)
        self._table = device.pinned(sessions * ctypes.sizeof(MelJob), np.uint8)
        self._jobs = (MelJob * sessions).from_buffer(self._table.data)
        self._tables = upload_tables(device)
        sizes = (self._table.nbytes, self._heard.nbytes, self._mels.nbytes, spectrum_bytes(sessions, columns))
        self._at = [device.allocate(size) for size in sizes]

    @property
    def sessions(self) -> int:
        """How many sounds have begun and not ended."""
        return len(self._sounds)

    def push(self, pieces: Mapping[Hashable, Samples]) -> dict[Hashable, Mel]:
        """Take samples of any number of sessions, return the columns they complete.

        Args:
            pieces: float32 [n] by session, each follows the session's samples before it without a gap.

        Returns:
            float32 [80, new] for each of them; `StreamingMel.push` says when a column is complete.

        Raises:
            ValueError: A piece is not one-dimensional; nothing is taken of any then.
        """
        for session, samples in pieces.items():
            if samples.ndim != 1:
                raise ValueError(
                    f"samples of {session!r} have shape {samples.shape}, expected one dimension: mix to mono first"
                )
        taken = {session: self._taken(session, samples) for session, samples in pieces.items()}
        return self._computed(taken)

    def flush(self, sessions: Iterable[Hashable]) -> dict[Hashable, Mel]:
        """End sounds and return the columns whose second half lies beyond their ends; the sessions leave.

        Raises:
            KeyError: A session is not there; none leaves then.
        """
        ended = {session: _ending(self._sounds[session]) for session in sessions}
        for session in ended:
            self.drop(session)
        return self._computed(ended)

    def drop(self, session: Hashable) -> None:
        """Let a session leave without its last columns; one that is not there is no error."""
        self._sounds.pop(session, None)

    def close(self) -> None:
        """Give the device's memory back; calling it twice is harmless."""
        while self._at:
            self._device.free(self._at.pop())
            if not self._at:
                self._device.free(self._tables.turns)

    def _taken(self, session: Hashable, samples: Samples) -> _Piece:
        sound = self._sounds.setdefault(session, _Sound(np.zeros(N_FFT // 2, np.float32)))
        heard = np.concatenate([sound.pending, samples.astype(np.float32, copy=False)])
        count = max(0, (len(heard) - N_FFT) // HOP + 1)
        sound.pending = heard[count * HOP :].copy()
        sound.received += len(samples)
        sound.emitted += count
        return _Piece(heard, count)

    def _computed(self, pieces: dict[Hashable, _Piece]) -> dict[Hashable, Mel]:
        waiting = [piece for piece in pieces.values() if piece.count]
        while waiting:
            for first in range(0, len(waiting), len(self._jobs)):
                self._compute(waiting[first : first + len(self._jobs)])
            waiting = [piece for piece in waiting if piece.done < piece.count]
        return {session: _joined(piece.made) for session, piece in pieces.items()}

    def _compute(self, pieces: Sequence[_Piece]) -> None:
        """Up to `columns` more columns of up to `sessions` pieces."""
        jobs, samples, columns, spectrum = self._at
        for slot, piece in enumerate(pieces):
            count = min(piece.count - piece.done, self._columns)
            heard = piece.samples[piece.done * HOP :][: samples_of(count)]
            self._heard[slot, : len(heard)] = heard
            at = samples + slot * self._heard[0].nbytes, columns + slot * self._mels[0].nbytes
            self._jobs[slot] = MelJob(*at, len(heard), count, 0, self._columns)
        self._device.to_device(jobs, self._table)
        self._device.to_device(samples, self._heard[: len(pieces)])
        launch_mels(self._device, jobs, self._tables, spectrum, len(pieces), self._columns)
        self._device.to_host(self._mels[: len(pieces)], columns)
        self._device.synchronise()
        for job, piece, mel in zip(self._jobs, pieces, self._mels, strict=False):
            piece.made.append(mel[: job.count].T.copy())
            piece.done += job.count


def _ending(sound: _Sound) -> _Piece:
    missing = sound.received // HOP + 1 - sound.emitted if sound.received else 0
    return _Piece(sound.pending, missing)


def _joined(made: list[Mel]) -> Mel:
    return np.concatenate([np.zeros((BANDS, 0), np.float32), *made], axis=1)
