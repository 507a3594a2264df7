import numpy as np
import pytest
from numpy.typing import NDArray

from stream.transport.audio_codec import (
    CHUNK_NS,
    CHUNK_SAMPLES,
    OPUS_LOOK_AHEAD_SAMPLES,
    RATE_HZ,
    AudioDecoder,
    Chunker,
    OpusEncoder,
    level_dbov,
)
from stream.transport.conceal import Concealer

pytestmark = pytest.mark.unit


def tone(samples: int, hz: float = 220.0, level: float = 0.5) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE_HZ)).astype(np.float32)


def test_opus_returns_sound_later_by_its_look_ahead_and_by_nothing_else() -> None:
    encoder, decoder = OpusEncoder(), AudioDecoder("opus")
    sound = np.zeros(RATE_HZ, np.float32)
    sound[20_000:24_000] = tone(4000, 700) * np.hanning(4000).astype(np.float32)
    packets = [encoder.encode(sound[at : at + CHUNK_SAMPLES]) for at in range(0, RATE_HZ, CHUNK_SAMPLES)]
    back = np.concatenate([decoder.decode(packet) for packet in packets])

    lag = int(np.argmax(np.correlate(back, sound[20_000:24_000], "valid"))) - 20_000
    assert len(back) == len(sound)
    assert abs(lag - OPUS_LOOK_AHEAD_SAMPLES) <= 8  # the phase of a lossy codec moves by 0.1 ms


def test_every_chunk_gives_one_packet_at_once() -> None:
    encoder = OpusEncoder()
    assert all(encoder.encode(tone(CHUNK_SAMPLES)) for _ in range(10))


def test_sound_beyond_full_scale_is_clipped_not_wrapped() -> None:
    encoder, decoder = OpusEncoder(), AudioDecoder("opus")
    back = np.concatenate([decoder.decode(encoder.encode(tone(CHUNK_SAMPLES, level=3.0))) for _ in range(10)])
    assert np.abs(np.diff(back)).max() < 0.8


@pytest.mark.parametrize(("codec", "rate_hz"), [("PCMU", 8000), ("PCMA", 8000)])
def test_telephone_codecs_come_out_at_48_khz(codec: str, rate_hz: int) -> None:
    decoder = AudioDecoder(codec)
    samples = np.concatenate([decoder.decode(b"\xd5" * (rate_hz // 50)) for _ in range(50)])
    assert abs(len(samples) - RATE_HZ) < RATE_HZ // 100


@pytest.mark.parametrize(("level", "dbov"), [(0.0, 127), (1.0, 3), (0.1, 23)])
def test_loudness_is_told_in_dbov(level: float, dbov: int) -> None:
    assert level_dbov(tone(4800, 1000, level)) == dbov


def test_chunks_are_20_ms_whatever_the_packets_are() -> None:
    chunker = Chunker()
    sound = tone(RATE_HZ)
    chunks, at = [], 0
    for size in [480, 2880, 960, 120, 1920] * 7:
        chunks += chunker.push(at * 62_500 // 3, sound[at : at + size])
        at += size
    assert {len(chunk.samples) for chunk in chunks} == {CHUNK_SAMPLES}
    assert [chunk.pts_ns for chunk in chunks] == [n * CHUNK_NS for n in range(len(chunks))]
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), sound[: len(chunks) * CHUNK_SAMPLES])


def test_a_jump_of_pts_starts_a_new_run_of_chunks() -> None:
    chunker = Chunker()
    chunker.push(0, tone(1000))
    assert [chunk.pts_ns for chunk in chunker.push(7_000_000_000, tone(960))] == [7_000_000_000]


def test_a_lost_packet_of_a_steady_voice_is_hardly_heard() -> None:
    sound = sum((tone(RATE_HZ, 120 * n, 0.3 / n) for n in range(1, 5)), np.zeros(RATE_HZ, np.float32))
    concealer = Concealer()
    concealer.heard(sound[:9600])
    made = concealer.conceal(CHUNK_SAMPLES)
    truth = sound[9600 : 9600 + CHUNK_SAMPLES]
    # It fades by a third within the packet; silence would have an error of 1.
    error = np.sqrt(np.mean((made - truth) ** 2) / np.mean(truth**2))
    assert len(made) == CHUNK_SAMPLES
    assert error < 0.35


def test_concealment_joins_what_was_before_and_what_comes_after_without_a_click() -> None:
    sound = tone(RATE_HZ, 200)
    concealer = Concealer()
    parts = [concealer.heard(sound[:9600]), concealer.conceal(960), concealer.heard(sound[10_560:20_160])]
    steps = np.abs(np.diff(np.concatenate(parts)))
    # A 200 Hz tone at half scale moves by 0.013 a sample.
    assert steps.max() < 0.04


def test_a_long_hole_fades_to_silence() -> None:
    concealer = Concealer()
    concealer.heard(tone(9600))
    made = np.concatenate([concealer.conceal(960) for _ in range(10)])
    assert np.abs(made[-960:]).max() < 0.001
    assert np.abs(concealer.conceal(48_000)).max() < 0.5


def test_a_hole_before_any_sound_is_silence() -> None:
    assert not Concealer().conceal(960).any()
