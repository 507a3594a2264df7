"""A stock aiortc client that calls a `Peer` over loopback."""

import asyncio
import fractions
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc import AudioStreamTrack, MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from stream.errors import SessionClosed
from stream.transport.peer import Peer, PeerConfig

QUICK = PeerConfig(include_loopback=True)


class Pictures(MediaStreamTrack):  # type: ignore[misc] # aiortc is not typed
    """Flat grey pictures, 50 a second; `size` (height, width) may change on the way."""

    kind = "video"

    def __init__(self, size: tuple[int, int] = (120, 160)) -> None:
        super().__init__()
        self.size = size
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(0.02)
        height, width = self.size
        grey = np.full((height * 3 // 2, width), 40 + self._count % 100, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
        frame.pts, frame.time_base = self._count * 1800, fractions.Fraction(1, 90_000)
        self._count += 1
        return frame


class Caller:
    """Offers `kinds`, counts what comes back.

    Args:
        peer: Who is called; it is run in pass-through.
        kinds: What is sent.
        trickle: Whether candidates are left out of the offer.
    """

    def __init__(self, peer: Peer, kinds: str = "video audio", *, trickle: bool = False) -> None:
        self.peer = peer
        self.pictures = Pictures()
        self.got: dict[str, list[Any]] = {"video": [], "audio": []}
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._trickle = trickle
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        if "video" in kinds:
            self.connection.addTrack(self.pictures)
        if "audio" in kinds:
            self.connection.addTrack(AudioStreamTrack())
        self.connection.on("track", lambda track: self._start(self._read(track)))

    def _start(self, work: Any) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                async with self._changed:
                    self.got[track.kind].append(frame)
                    self._changed.notify_all()
        except MediaStreamError:
            return

    async def call(self) -> str:
        """Connect; returns the answer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = self.connection.localDescription.sdp
        candidates = [line for line in offer.splitlines() if "candidate" in line]
        if self._trickle:
            offer = "\r\n".join(line for line in offer.splitlines() if "candidate" not in line) + "\r\n"
        answer = await self.peer.answer(offer)
        self._start(self._echo(self.peer.video_in.get, self.peer.send_video))
        self._start(self._echo(self.peer.audio_in.get, self.peer.send_audio))
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if self._trickle:
            await self.peer.add_candidates("\r\n".join(candidates))
        return answer

    async def _echo(self, get: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        try:
            while True:
                await send(await get())
        except SessionClosed:
            return

    async def until(self, met: Callable[[], bool], within_s: float = 8.0) -> None:
        """Wait for something about `got` to become true."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(met), within_s)

    async def hang_up(self) -> None:
        """Close both ends and join everything."""
        await self.connection.close()
        await self.peer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
