"""The baseline: an echo server of aiortc as it comes, behind the same `POST /sessions` as ours.

Nothing of aiortc is patched here; frames are decoded, handed on by its own
queue and encoded again.
"""

from typing import Any

from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

_PEERS: web.AppKey[dict[str, RTCPeerConnection]] = web.AppKey("peers", dict)


async def _offer(request: web.Request) -> web.Response:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    relay = MediaRelay()

    @peer.on("track")  # type: ignore[untyped-decorator]
    def echo(track: MediaStreamTrack) -> None:
        peer.addTrack(relay.subscribe(track))

    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    name = str(len(request.app[_PEERS]))
    request.app[_PEERS][name] = peer
    return web.Response(
        status=201,
        text=peer.localDescription.sdp,
        content_type="application/sdp",
        headers={"Location": f"/sessions/{name}"},
    )


async def _end(request: web.Request) -> web.Response:
    peer = request.app[_PEERS].get(request.match_info["name"])
    if peer is None:
        raise web.HTTPNotFound
    await peer.close()
    return web.Response()


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _close_all(app: web.Application) -> None:
    for peer in app[_PEERS].values():
        await peer.close()


def application() -> web.Application:
    """The echo server."""
    app = web.Application()
    app[_PEERS] = {}
    app.router.add_get("/health", _health)
    app.router.add_post("/sessions", _offer)
    app.router.add_delete("/sessions/{name}", _end)
    app.on_shutdown.append(_close_all)
    return app


def serve(port: int) -> int:
    """Serve on 127.0.0.1 until interrupted."""
    # aiohttp prints a banner unless told not to; its stub does not know that None means that.
    options: dict[str, Any] = {"host": "127.0.0.1", "port": port, "print": None}
    web.run_app(application(), **options)
    return 0
