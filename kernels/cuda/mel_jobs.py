"""What the kernels of `mel.cu` read, as it lies in memory, and how they are launched.

Two launches whatever the number of sessions; grids depend on counts alone. For 64 sessions with four columns each,
358 kB of sound are read, 82 kB of columns written, and 411 kB of spectra written and read between the launches.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import Device, Launches
from kernels.mel import BANDS, HOP, N_FFT, hann, mel_filters

_BINS = N_FFT // 2 + 1
# Columns that one thread adds up (`MEL_TOGETHER` in `mel.cuh`).
_TOGETHER = 4
_SPECTRUM_BLOCK = (128, 1, 1)
_BAND_BLOCK = (32, 4, 1)
_FLOAT_BYTES = 4


class MelJob(ctypes.Structure):
    """`MelJob` of `mel.cuh`: one session's columns.

    Column k looks at samples 200 k .. 200 k + 799, as they were heard: pre-emphasis is the kernel's, and the window is
    0 at a frame's first sample, which needs none before it. Samples from `known` on are silence. Column k is written to
    the (next + k) mod ring-th of `ring` columns, its 80 bands side by side: the column-major [80, ring], in which a
    column is one transfer of 320 bytes and a ring needs no copying when it is full.
    """

    _fields_ = (
        ("samples", ctypes.c_void_p),
        ("columns", ctypes.c_void_p),
        ("known", ctypes.c_int),
        ("count", ctypes.c_int),
        ("next", ctypes.c_int),
        ("ring", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class MelTables:
    """Addresses of the constants: turns float32 [800, 2], half a window float32 [401], bands int32 [80, 3], weights."""

    turns: int
    window: int
    bands: int
    weights: int


def samples_of(columns: int) -> int:
    """How many samples that many columns look at."""
    return N_FFT + HOP * (columns - 1)


def mel_tables() -> tuple[NDArray[np.int32], MelTables]:
    """The constants as they lie in memory, int32 words [n], and where each of them begins, in bytes.

    The turns are exact: a bin's angle is a whole number of 1/800 of a turn, looked up instead of multiplied.
    """
    angles = 2.0 * np.pi * np.arange(N_FFT) / N_FFT
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
    window = hann()[:_BINS].astype(np.float32)
    bands, weights = _sparse(mel_filters())
    parts = [np.ascontiguousarray(part).ravel().view(np.int32) for part in (turns, window, bands, weights)]
    starts = np.cumsum([0] + [part.nbytes for part in parts[:-1]]).tolist()
    return np.concatenate(parts), MelTables(*starts)


def _sparse(filters: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """First bin, count of bins and first weight of every band, and the weights."""
    audible = filters > 0.0
    counts = audible.sum(axis=1)
    # A triangle's bins lie side by side, so that rows of those above 0 are the triangles one after another.
    bands = np.stack([audible.argmax(axis=1), counts, np.cumsum(counts) - counts], axis=-1)
    return bands.astype(np.int32), filters[audible].astype(np.float32)


def upload_tables(device: Device) -> MelTables:
    """Copy the constants to a card; the first of the addresses is the one to free."""
    words, starts = mel_tables()
    address = device.allocate(words.nbytes)
    device.to_device(address, words)
    device.synchronise()
    each = (starts.turns, starts.window, starts.bands, starts.weights)
    return MelTables(*(address + start for start in each))


def spectrum_bytes(sessions: int, columns: int) -> int:
    """Room that is needed between the two launches."""
    return sessions * columns * _BINS * _FLOAT_BYTES


def launch_mels(device: Launches, jobs: int, tables: MelTables, spectrum: int, sessions: int, columns: int) -> None:
    """Compute all columns of all sessions, in two launches.

    Args:
        device: Where.
        jobs: Address of `MelJob` [sessions].
        tables: Of `upload_tables`.
        spectrum: Address of `spectrum_bytes`.
        sessions: How many.
        columns: What no session's count exceeds.
    """

    def grid(across: int, block: tuple[int, int, int], rows: int) -> tuple[int, int, int]:
        return -(-across // block[0]), -(-rows // block[1]), sessions

    of_jobs, of_spectrum, room = ctypes.c_void_p(jobs), ctypes.c_void_p(spectrum), ctypes.c_int(columns)
    constants = (ctypes.c_void_p(tables.turns), ctypes.c_void_p(tables.window))
    threads = grid(_BINS, _SPECTRUM_BLOCK, -(-columns // _TOGETHER))
    device.launch("mel_spectra", threads, _SPECTRUM_BLOCK, of_jobs, *constants, of_spectrum, room)
    constants = (ctypes.c_void_p(tables.bands), ctypes.c_void_p(tables.weights))
    threads = grid(BANDS, _BAND_BLOCK, columns)
    device.launch("mel_bands", threads, _BAND_BLOCK, of_jobs, *constants, of_spectrum, room)
