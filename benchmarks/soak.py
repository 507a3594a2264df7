"""Callers come and go: does the server hold more after 200 of them than after 20?

`python -m benchmarks run soak --cycles 200`. Each cycle is a real WebRTC call by stock aiortc that sends a clip and
sound, waits for pictures to come back, and hangs up, by turns with a DELETE and by vanishing. The server runs in
its own process; what it holds is read from the outside (/proc) and from its /health?debug.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from benchmarks import chromium, clips
from benchmarks.harness import RESULTS, write_result
from benchmarks.load import Microphone, Picture, encode_clip
from benchmarks.serve import command

_CLIP = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
_SETTLED = 20
_EVERY = 10
_MEDIAN_OF = 3
_WAIT_S = 15.0
# What an allocator keeps back differs from sample to sample by a few MB; a leak of one frame per call
# (0.46 MB at 640x480) would show as 83 MB over 180 calls.
_RSS_NOISE_MB = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the server's process holds between two calls."""

    cycles: int
    rss_mb: float
    threads: int
    tasks: int
    files: int
    sessions: int


async def _held(server: chromium.ServerProcess, http: aiohttp.ClientSession, cycles: int) -> Held:
    async with http.get(f"{server.url}/health?debug") as reply:
        health = await reply.json()
    proc = Path(f"/proc/{server.process.pid}")
    return Held(
        cycles=cycles,
        rss_mb=round(server.rss_mb(), 2),
        threads=len(list((proc / "task").iterdir())),
        tasks=health["debug"]["tasks"],
        files=len(list((proc / "fd").iterdir())),
        sessions=health["sessions"],
    )


async def _receive(track: MediaStreamTrack, came: asyncio.Semaphore) -> None:
    try:
        while True:
            await track.recv()
            if track.kind == "video":
                came.release()
    except MediaStreamError:
        return


async def _cycle(
    url: str, http: aiohttp.ClientSession, media: tuple[Picture, Microphone], query: str, pictures: int, hang_up: bool
) -> None:
    """One call until `pictures` have come back.

    Raises:
        RuntimeError: The server refused.
        TimeoutError: The pictures did not come.
    """
    caller, came, receiving = RTCPeerConnection(RTCConfiguration(iceServers=[])), asyncio.Semaphore(0), []
    caller.on("track", lambda track: receiving.append(asyncio.ensure_future(_receive(track, came))))
    for track in media:
        caller.addTrack(track)
    known = RTCRtpSender.getCapabilities("video").codecs
    caller.getTransceivers()[0].setCodecPreferences([codec for codec in known if codec.mimeType == "video/H264"])
    await caller.setLocalDescription(await caller.createOffer())
    sdp = {"Content-Type": "application/sdp"}
    async with http.post(f"{url}/sessions{query}", data=caller.localDescription.sdp, headers=sdp) as reply:
        answer = await reply.text()
        if reply.status != 201:
            raise RuntimeError(f"the server answered {reply.status}: {answer}")
        location = reply.headers["Location"]
    await caller.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    try:
        async with asyncio.timeout(_WAIT_S):
            for _ in range(pictures):
                await came.acquire()
        if hang_up:
            await http.delete(url + location)
    finally:
        await caller.close()
        await asyncio.gather(*receiving)


async def _emptied(url: str, http: aiohttp.ClientSession) -> None:
    """Return when the server has no session left."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            async with http.get(f"{url}/health") as reply:
                if not (await reply.json())["sessions"]:
                    return
            await asyncio.sleep(0.05)


async def soak(
    server: chromium.ServerProcess, clip: Path, cycles: int, query: str, pictures: int
) -> tuple[list[Held], int]:
    """Run the cycles.

    Returns:
        What the server held after 20, 30, ... of them, and in how many the pictures did not come in time.
    """
    packets, sound = encode_clip(clip, 640, 480, 25, 1_000_000), clips.clip_sound(clip)
    samples, lost = [], 0
    async with aiohttp.ClientSession() as http:
        for count in range(1, cycles + 1):
            media = (Picture(packets, 25), Microphone(sound))
            try:
                await _cycle(server.url, http, media, query, pictures, hang_up=bool(count % 2))
            except TimeoutError:
                lost += 1
            await _emptied(server.url, http)
            if count >= _SETTLED and count % _EVERY == 0:
                samples.append(await _held(server, http, count))
                print(json.dumps(asdict(samples[-1])), flush=True)
    return samples, lost


def growth(samples: list[Held]) -> dict[str, float]:
    """Median of the last three samples minus that of the first three, and the memory's slope in kB per call."""
    names = ("rss_mb", "threads", "tasks", "files")
    early, late = samples[:_MEDIAN_OF], samples[-_MEDIAN_OF:]
    grown = {name: round(_median(late, name) - _median(early, name), 2) for name in names}
    slope = float(np.polyfit([held.cycles for held in samples], [held.rss_mb for held in samples], 1)[0]) * 1000
    return {**grown, "rss_kb_per_cycle": round(slope, 2)}


def _median(samples: list[Held], name: str) -> float:
    return float(np.median([getattr(held, name) for held in samples]))


def faults(samples: list[Held]) -> list[str]:
    """What grew that must not; empty where all is well."""
    grown = growth(samples)
    found = [f"{name} grew by {grown[name]:g}" for name in ("threads", "tasks", "files") if grown[name] > 0]
    if grown["rss_mb"] > _RSS_NOISE_MB:
        found.append(f"memory grew by {grown['rss_mb']:.1f} MB, allowed are {_RSS_NOISE_MB:g}")
    return found


def main(argv: list[str]) -> int:
    """Serve, soak, judge, write; 1 where something grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--mode", default="re-voice", choices=["pass-through", "re-voice"])
    parser.add_argument("--pictures", type=int, default=15, help="how many must come back in each call")
    parser.add_argument("--clip", type=Path, default=_CLIP)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    if asked.cycles < 4 * _SETTLED:
        parser.error(f"--cycles is {asked.cycles}, it must be at least {4 * _SETTLED}")
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium.serving(command("visavis", config=asked.config), Path(folder) / "server.log") as server,
    ):
        samples, lost = asyncio.run(soak(server, asked.clip, asked.cycles, f"?mode={asked.mode}", asked.pictures))
    body: dict[str, Any] = {
        "cycles": asked.cycles,
        "mode": asked.mode,
        "pictures_per_call": asked.pictures,
        "after": [asdict(held) for held in samples],
        "growth_after_first_20": growth(samples),
        "lost_calls": lost,
        "faults": faults(samples) + ([f"{lost} calls got no pictures within {_WAIT_S:g} s"] if lost else []),
    }
    print(json.dumps({key: body[key] for key in ("growth_after_first_20", "lost_calls", "faults")}))
    print(write_result(f"soak-{asked.mode}", body, asked.out))
    return 1 if body["faults"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
