"""Audio decoding and encoding on PyAV, 48 kHz mono inside.

An Opus frame of 20 ms takes 0.1 ms either way: both run on the loop, because
a trip to a thread costs more.
"""

import fractions
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_S, AudioChunk

Samples = NDArray[np.float32]

RATE_HZ = 48_000
CHUNK_SAMPLES = 960
CHUNK_NS = CHUNK_SAMPLES * NS_PER_S // RATE_HZ
# libopus puts a sound this much later than its packet's timestamp (RFC 6716, 4.5; `OPUS_GET_LOOKAHEAD`
# at 48 kHz, applications "voip" and "audio"); nobody on the way corrects it.
OPUS_LOOK_AHEAD_SAMPLES = 312
OPUS_LOOK_AHEAD_NS = OPUS_LOOK_AHEAD_SAMPLES * NS_PER_S // RATE_HZ

_NAMES = {"opus": "libopus", "pcmu": "pcm_mulaw", "pcma": "pcm_alaw", "g722": "g722"}
_SOURCE_RATE_HZ = {"opus": RATE_HZ, "pcmu": 8_000, "pcma": 8_000, "g722": 16_000}
_FULL_SCALE = 32768.0


class AudioDecoder:
    """Decodes packets of one stream to mono float32 at 48 kHz.

    Args:
        codec: "opus", "PCMU", "PCMA" or "G722", as in the SDP's rtpmap.
    """

    def __init__(self, codec: str) -> None:
        name = codec.lower()
        self._context = cast("Any", av.CodecContext.create(_NAMES[name], "r"))
        self._context.format, self._context.layout = "s16", "mono"
        self._context.sample_rate = _SOURCE_RATE_HZ[name]
        self._resampler = None
        if _SOURCE_RATE_HZ[name] != RATE_HZ:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def decode(self, data: bytes) -> Samples:
        """float32 [n] of one packet.

        Raises:
            av.FFmpegError: The packet is damaged.
        """
        frames = self._context.decode(av.Packet(data))
        if self._resampler is not None:
            frames = [part for frame in frames for part in self._resampler.resample(frame)]
        parts = [frame.to_ndarray().reshape(-1) for frame in frames]
        if not parts:
            return np.zeros(0, np.float32)
        return np.concatenate(parts).astype(np.float32) / np.float32(_FULL_SCALE)


class OpusEncoder:
    """Encodes chunks of 20 ms, mono, with forward error correction for the viewer.

    Args:
        bitrate_bps: 64 kbit/s is transparent for speech at full band.
    """

    def __init__(self, bitrate_bps: int = 64_000) -> None:
        self._context = cast("Any", av.CodecContext.create("libopus", "w"))
        self._context.format, self._context.layout = "s16", "mono"
        self._context.sample_rate = RATE_HZ
        self._context.bit_rate = bitrate_bps
        self._context.time_base = fractions.Fraction(1, RATE_HZ)
        self._context.options = {
            "application": "voip",
            "frame_duration": "20",
            "compression_level": "5",
            "fec": "1",
            "packet_loss": "5",
        }
        self._at = 0

    def encode(self, samples: Samples) -> bytes:
        """One packet of exactly `CHUNK_SAMPLES` samples."""
        pcm = np.clip(np.rint(samples * np.float32(_FULL_SCALE - 1)), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, self._at
        self._at += CHUNK_SAMPLES
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def level_dbov(samples: Samples) -> int:
    """Loudness as RFC 6464 wants it: 0 is full scale, 127 is silence."""
    power = float(np.dot(samples, samples)) / max(1, len(samples))
    return 127 if power <= 1e-12 else min(127, max(0, round(-10 * np.log10(power))))


class Chunker:
    """Cuts samples with pts into chunks of 20 ms; a jump of pts starts a new run of chunks."""

    def __init__(self) -> None:
        self._held: Samples = np.zeros(0, np.float32)
        self._pts_ns = 0

    def push(self, pts_ns: int, samples: Samples) -> list[AudioChunk]:
        """Add samples whose first one is at `pts_ns` and return the chunks that are full."""
        end_ns = self._pts_ns + len(self._held) * NS_PER_S // RATE_HZ
        # Rounding of ticks to nanoseconds is below one sample (20.8 us).
        if not len(self._held) or abs(pts_ns - end_ns) > NS_PER_S // RATE_HZ:
            self._held, self._pts_ns = np.zeros(0, np.float32), pts_ns
        self._held = np.concatenate([self._held, samples])
        chunks = []
        while len(self._held) >= CHUNK_SAMPLES:
            chunks.append(AudioChunk(self._pts_ns, RATE_HZ, self._held[:CHUNK_SAMPLES]))
            self._held, self._pts_ns = self._held[CHUNK_SAMPLES:], self._pts_ns + CHUNK_NS
        return chunks
