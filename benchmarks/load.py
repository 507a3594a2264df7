"""A caller without a browser: sends a clip that was encoded beforehand, at a fixed rate, and counts what comes back.

`python -m benchmarks.load URL --clip FILE --size WxH --seconds N`; prints one line of JSON. Stock aiortc, so
that the server meets another implementation than its own.
"""

from __future__ import annotations

import argparse
import asyncio
import fractions
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from benchmarks import clips

_VIDEO_CLOCK = fractions.Fraction(1, 90_000)
_SOUND_CLOCK = fractions.Fraction(1, clips.SAMPLE_RATE_HZ)
_CHUNK = 960


def encode_clip(clip: Path, width: int, height: int, fps: int, bit_rate: int) -> list[bytes]:
    """H.264 of the clip, one packet per frame, a keyframe each second so that a loss heals without a request."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.bit_rate = width, height, "yuv420p", bit_rate
    codec.framerate, codec.time_base = fractions.Fraction(fps), fractions.Fraction(1, fps)
    codec.options = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline", "g": str(fps)}
    packets: list[bytes] = []
    for index, planes in enumerate(clips.clip_frames(clip, width, height, fps)):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets + [bytes(packet) for packet in codec.encode(None)]


class _Paced(MediaStreamTrack):  # type: ignore[misc] # aiortc is not typed for us
    """Gives one item each period, on one schedule from the first; a late one does not shift the next."""

    def __init__(self, period_s: float) -> None:
        super().__init__()
        self._period_s = period_s
        self._start_s: float | None = None
        self.count = 0

    async def _tick(self) -> int:
        loop = asyncio.get_running_loop()
        if self._start_s is None:
            self._start_s = loop.time()
        await asyncio.sleep(max(0.0, self._start_s + self.count * self._period_s - loop.time()))
        self.count += 1
        return self.count - 1


class Picture(_Paced):
    """The encoded clip, looped; aiortc only packs it."""

    kind = "video"

    def __init__(self, packets: list[bytes], fps: int) -> None:
        super().__init__(1 / fps)
        self._packets, self._fps = packets, fps

    async def recv(self) -> av.Packet[Any]:
        """The next frame."""
        index = await self._tick()
        packet = av.Packet(self._packets[index % len(self._packets)])
        packet.pts, packet.time_base = round(index * 90_000 / self._fps), _VIDEO_CLOCK
        return packet


class Microphone(_Paced):
    """The clip's sound, looped."""

    kind = "audio"

    def __init__(self, samples: NDArray[np.float32]) -> None:
        super().__init__(_CHUNK / clips.SAMPLE_RATE_HZ)
        whole = samples[: len(samples) // _CHUNK * _CHUNK] if len(samples) >= _CHUNK else np.zeros(_CHUNK, np.float32)
        self._chunks = (whole * 32767).astype(np.int16).reshape(-1, 1, _CHUNK)

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms."""
        index = await self._tick()
        frame = av.AudioFrame.from_ndarray(self._chunks[index % len(self._chunks)], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = clips.SAMPLE_RATE_HZ, index * _CHUNK, _SOUND_CLOCK
        return frame


async def _count(track: MediaStreamTrack, arrivals_s: deque[float]) -> None:
    try:
        while True:
            await track.recv()
            arrivals_s.append(time.perf_counter())
    except MediaStreamError:
        return


async def call(url: str, picture: Picture, sound: Microphone, seconds: float, query: str) -> dict[str, Any]:
    """One session of `seconds` after the connection stands.

    Raises:
        RuntimeError: The server refused.
    """
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    arrivals: dict[str, deque[float]] = {"video": deque(), "audio": deque()}
    counters: list[asyncio.Task[None]] = []
    peer.on("track", lambda track: counters.append(asyncio.ensure_future(_count(track, arrivals[track.kind]))))
    peer.addTrack(picture)
    peer.addTrack(sound)
    known = RTCRtpSender.getCapabilities("video").codecs
    peer.getTransceivers()[0].setCodecPreferences([codec for codec in known if codec.mimeType == "video/H264"])
    await peer.setLocalDescription(await peer.createOffer())
    async with aiohttp.ClientSession() as http:
        sdp = {"Content-Type": "application/sdp"}
        async with http.post(f"{url}/sessions{query}", data=peer.localDescription.sdp, headers=sdp) as reply:
            answer = await reply.text()
            if reply.status != 201:
                raise RuntimeError(f"the server answered {reply.status}: {answer}")
            location = reply.headers["Location"]
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        print(json.dumps({"location": location}), flush=True)
        await asyncio.sleep(seconds)
        await http.delete(url + location)
    await peer.close()
    await asyncio.gather(*counters)
    gaps_ms = np.diff(np.array(arrivals["video"])) * 1e3
    return {
        "video_sent": picture.count,
        "video_returned": len(arrivals["video"]),
        "audio_returned": len(arrivals["audio"]),
        "largest_gap_ms": round(float(gaps_ms.max()), 1) if len(gaps_ms) else None,
    }


def main(argv: list[str]) -> int:
    """Encode, call, print what came back."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bit-rate", type=int, default=1_500_000)
    parser.add_argument("--query", default="?mode=re-voice")
    asked = parser.parse_args(argv)
    width, height = (int(part) for part in asked.size.split("x"))
    picture = Picture(encode_clip(asked.clip, width, height, asked.fps, asked.bit_rate), asked.fps)
    sound = Microphone(clips.clip_sound(asked.clip))
    print(json.dumps(asyncio.run(call(asked.url, picture, sound, asked.seconds, asked.query))), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
