"""The CUDA form of the mel columns, compiled for the host: against the definition, streamed against whole."""

import ctypes

import numpy as np
import pytest

from kernels.cuda.mel_jobs import MelJob, MelTables, launch_mels, mel_tables, samples_of, spectrum_bytes
from kernels.cuda.streaming_mels import StreamingMels
from kernels.mel import BANDS, HOP, SILENCE, Mel, StreamingMel, mel_filters, mel_spectrogram, mel_spectrogram_definition
from tests.kernels.cuda.host import launch, library, pointer

pytestmark = pytest.mark.unit

# A bin is the sum of 400 products in float32, one after another: an error of some 1e-6 of the loudest bin's amplitude,
# where the sound's own rounding is as large. 1e-4 of a unit is 0.00125 dB.
FLOAT32 = 1e-4
LENGTHS = [0, 1, 199, 200, 399, 400, 401, 799, 800, 9_001]


class HostCard:
    """Memory of the host, and launches that run at once, in blocks of shapes of their own where they are given."""

    def __init__(self, blocks: dict[str, tuple[int, int]] | None = None) -> None:
        self.blocks = blocks or {}
        self.held: dict[int, np.ndarray] = {}
        self.launches: list[str] = []

    def allocate(self, size: int) -> int:
        room = np.full(size, 0xFF, np.uint8)
        self.held[room.ctypes.data] = room
        return room.ctypes.data

    def free(self, address: int) -> None:
        del self.held[address]

    def pinned(self, shape: int | tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        return np.frombuffer(np.full(np.prod(shape) * np.dtype(dtype).itemsize, 0xFF, np.uint8), dtype).reshape(shape)

    def to_device(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def to_host(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def synchronise(self) -> None:
        pass

    def launch(self, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], *arguments: object) -> None:
        self.launches.append(kernel)
        if kernel in self.blocks:
            x, y = self.blocks[kernel]
            grid = -(-grid[0] * block[0] // x), -(-grid[1] * block[1] // y), grid[2]
            block = (x, y, 1)
        launch("mel", kernel, grid, block, *arguments)


def _noise(count: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * level).astype(np.float32)


def _tone(hz: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(8_000) / 16_000)).astype(np.float32)


def _whole(sound: np.ndarray, mels: StreamingMels | None = None) -> Mel:
    mels = mels or StreamingMels(HostCard(), 3)
    return np.concatenate([mels.push({"one": sound})["one"], mels.flush(["one"])["one"]], axis=1)


def test_the_job_table_lies_in_memory_as_the_kernel_reads_it() -> None:
    size = library("mel").size_of_MelJob
    size.restype = ctypes.c_ulong
    assert size() == ctypes.sizeof(MelJob)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("level", [1e-6, 1e-3, 0.1, 1.0])
def test_mels_equal_the_definition(length: int, level: float) -> None:
    sound = _noise(length, level=level)

    mel = _whole(sound)

    assert mel.shape == (BANDS, length // HOP + 1 if length else 0)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, mel_spectrogram_definition(sound), atol=FLOAT32)
    np.testing.assert_allclose(mel, mel_spectrogram(sound), atol=FLOAT32)


# Pre-emphasis doubles a loud high tone, and float32 rounds it by 1e-7: in the bands that hear nothing else, that is
# up to 0.004 dB. What runs on the CPU is as far away (7.5 kHz: 0.0013 of a unit).
@pytest.mark.parametrize(("hz", "atol"), [(60.0, FLOAT32), (440.0, FLOAT32), (3_000.0, FLOAT32), (7_500.0, 5e-4)])
def test_the_mels_of_a_tone_equal_the_definition_where_it_is_quiet_too(hz: float, atol: float) -> None:
    np.testing.assert_allclose(_whole(_tone(hz)), mel_spectrogram_definition(_tone(hz)), atol=atol)


@pytest.mark.parametrize("columns", [1, 3, 4, 9])
def test_streamed_equals_whole_to_the_bit_with_sessions_that_join_and_leave(columns: int) -> None:
    rng = np.random.default_rng(6)
    sounds = {name: _noise(int(rng.integers(1, 6_000)), seed) for seed, name in enumerate("abcdefg")}
    joins = {name: int(rng.integers(0, 5)) for name in sounds}
    mels = StreamingMels(HostCard(), 3, columns)
    got: dict[str, list[Mel]] = {name: [] for name in sounds}
    at = dict.fromkeys(sounds, 0)
    for tick in range(1_000):
        pieces = {}
        for name in [name for name in sounds if joins[name] <= tick and at[name] < len(sounds[name])]:
            step = int(rng.choice([0, 1, 199, 640, 1_500]))
            pieces[name] = sounds[name][at[name] : at[name] + step]
            at[name] += step
        for name, mel in mels.push(pieces).items():
            got[name].append(mel)
        ended = [name for name in pieces if at[name] >= len(sounds[name])]
        for name, mel in mels.flush(ended).items():
            got[name].append(mel)
        if all(at[name] >= len(sounds[name]) for name in sounds):
            break

    assert mels.sessions == 0
    for name, sound in sounds.items():
        streamed = np.concatenate(got[name], axis=1)
        assert np.array_equal(streamed, _whole(sound))
        np.testing.assert_allclose(streamed, mel_spectrogram(sound), atol=FLOAT32)


def test_a_column_appears_with_the_last_sample_of_its_frame() -> None:
    mels, one = StreamingMels(HostCard(), 1), StreamingMel()

    for count in (399, 1, 199, 1, 640, 640, 0):
        piece = _noise(count, count)
        assert mels.push({7: piece})[7].shape == one.push(piece).shape


def test_a_tick_of_all_sessions_is_two_launches() -> None:
    card = HostCard()
    mels = StreamingMels(card, 64)
    for _ in range(2):
        mels.push({session: np.zeros(640, np.float32) for session in range(64)})

    assert card.launches == ["mel_spectra", "mel_bands"] * 2


def test_a_session_that_is_dropped_begins_anew() -> None:
    mels = StreamingMels(HostCard(), 2)
    mels.push({"one": _noise(1_000, 1)})
    mels.drop("one")
    mels.drop("never seen")

    assert np.array_equal(_whole(_noise(900, 2), mels), _whole(_noise(900, 2)))
    mels.push({"one": _noise(1_000, 1)})
    with pytest.raises(KeyError):
        mels.flush(["one", "never seen"])
    assert mels.sessions == 1


def test_what_was_given_is_neither_kept_nor_changed() -> None:
    mels, sound, buffer = StreamingMels(HostCard(), 1), _noise(3_000), np.empty(500, np.float32)
    columns = []
    for start in range(0, 3_000, 500):
        buffer[:] = sound[start : start + 500]
        columns.append(mels.push({1: buffer})[1])
        buffer[:] = 99.0
    columns.append(mels.flush([1])[1])

    assert np.array_equal(np.concatenate(columns, axis=1), _whole(sound))


def test_silence_is_the_lowest_value_exactly_and_too_loud_the_highest() -> None:
    assert (_whole(np.zeros(2_000, np.float32)) == SILENCE).all()
    square = np.where(np.arange(2_000) // 8 % 2, 100.0, -100.0).astype(np.float32)
    assert _whole(square).max() == 4.0


def test_stereo_is_refused_before_anything_is_taken() -> None:
    mels = StreamingMels(HostCard(), 2)
    with pytest.raises(ValueError, match="'b' have shape \\(2, 100\\), expected one dimension"):
        mels.push({"a": _noise(100), "b": np.zeros((2, 100), np.float32)})
    assert mels.sessions == 0


def test_close_gives_all_memory_back() -> None:
    card = HostCard()
    mels = StreamingMels(card, 2)
    assert card.held
    mels.close()
    mels.close()
    assert not card.held


def test_the_turns_and_filters_are_those_of_the_definition() -> None:
    words, starts = mel_tables()
    floats = words.view(np.float32)
    turns = floats[: starts.window // 4].reshape(800, 2)
    assert turns[[0, 200, 400, 600]].round(7).tolist() == [[1, 0], [0, 1], [-1, 0], [0, -1]]
    filters = np.zeros((BANDS, 401), np.float32)
    weights = floats[starts.weights // 4 :]
    for row, (first, count, at) in zip(filters, words[starts.bands // 4 :][: 3 * BANDS].reshape(-1, 3), strict=True):
        row[first : first + count] = weights[at : at + count]
    np.testing.assert_array_equal(filters, mel_filters().astype(np.float32))


def _in_rings(blocks: dict[str, tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Three sessions with 5, 0 and 2 columns, in rings of 7 between guards; and the spectra, poisoned first."""
    words, starts = mel_tables()
    at = words.ctypes.data
    tables = MelTables(at + starts.turns, at + starts.window, at + starts.bands, at + starts.weights)
    sounds = [_noise(samples_of(count), seed) for seed, count in enumerate((5, 1, 2))]
    rings = np.full((5, 7, BANDS), np.nan, np.float32)
    jobs = (MelJob * 3)(
        *(
            MelJob(sound.ctypes.data, ring.ctypes.data, len(sound), count, following, 7)
            for sound, ring, count, following in zip(sounds, rings[1:], (5, 0, 2), (4, 0, 6), strict=False)
        )
    )
    spectrum = np.full(spectrum_bytes(3, 5) // 4 + 8, np.nan, np.float32)
    launch_mels(HostCard(blocks), pointer(jobs).value or 0, tables, spectrum.ctypes.data, 3, 5)
    assert np.isnan(spectrum[-8:]).all(), "it writes behind the spectra"
    return rings, spectrum


def test_columns_go_round_the_ring_and_nowhere_else() -> None:
    rings, _ = _in_rings({})

    written = ~np.isnan(rings)
    assert (written.all(axis=2) == written.any(axis=2)).all()
    slots = [np.nonzero(ring.all(axis=1))[0].tolist() for ring in written]
    # Five from 4 on, none, two from 6 on, and guards before and behind.
    assert slots == [[], [0, 1, 4, 5, 6], [], [0, 6], []]
    # Its frames begin with the sound, without half a one of silence before it: column 2 of the whole is the first.
    expected = mel_spectrogram_definition(_noise(samples_of(5), 0))[:, 2:7]
    np.testing.assert_allclose(rings[1][[4, 5, 6, 0, 1]].T, expected, atol=FLOAT32)


@pytest.mark.parametrize("spectra", [(32, 8), (64, 4), (7, 5)])
def test_every_block_shape_writes_the_same(spectra: tuple[int, int]) -> None:
    blocks = {"mel_spectra": spectra, "mel_bands": (spectra[1], spectra[0])}
    for found, expected in zip(_in_rings(blocks), _in_rings({}), strict=True):
        np.testing.assert_array_equal(found, expected)
