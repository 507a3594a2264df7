"""aiortc's peer connection with our receivers, senders and ICE manners; nothing global is changed.

Stock connections of the same process stay stock, so that both can be measured
side by side. aiortc makes its parts in two private methods; overriding them
here is the only place where its private names are needed.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from aioice import stun
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcrtptransceiver import RTCRtpTransceiver

from stream.clock import Clock
from stream.frames import NS_PER_MS
from stream.transport.receiver import LiveReceiver
from stream.transport.sender import LiveSender

# Datagrams that wait for the loop: 0.5 MB a second are 400 of them; one that cannot keep up for
# two seconds has lost them anyway. aioice's own queue is unbounded and filled by anyone.
_DATAGRAMS_HELD = 1024
_CONSENT_EVERY_NS = 400 * NS_PER_MS
_CONSENT_ENDS_S = 30.0  # RFC 7675, section 5.1
# Half a second at 4 Mbit/s: what waits longer in our own machine comes too late.
_UNSENT_BYTES = 256 * 1024

Kind = Literal["audio", "video"]


class DatagramQueue(asyncio.Queue[Any]):
    """Drops data when full; the end mark (None) always enters.

    Attributes:
        heard_ns: When the peer's last datagram came, also one that was dropped.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.heard_ns = clock.now_ns()

    def put_nowait(self, item: Any) -> None:  # noqa: ANN401 - aioice's items
        """Add an item, or drop it where there is no room."""
        self.heard_ns = self._clock.now_ns()
        if item is None or self.qsize() < _DATAGRAMS_HELD:
            super().put_nowait(item)


class LiveConnection(RTCPeerConnection):  # type: ignore[misc] # aiortc is not typed for us
    """A peer connection made of our parts.

    Args:
        clock: The session's clock.
        ice_servers: STUN and TURN addresses; aiortc's default is a public STUN server.
        include_loopback: Offer 127.0.0.1 too (aioice leaves it out).
        silence_timeout_s: When a peer that answers no check is gone (aioice: up to 30 s).
        on_parts: Told the kind, receiver and sender of each track.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        ice_servers: tuple[str, ...] = (),
        include_loopback: bool = False,
        silence_timeout_s: float = 2.0,
        on_parts: Callable[[Kind, LiveReceiver, LiveSender], None] | None = None,
    ) -> None:
        self._live_clock = clock
        self._include_loopback = include_loopback
        self._silence_timeout_s = silence_timeout_s
        self._on_parts = on_parts
        super().__init__(RTCConfiguration(iceServers=[RTCIceServer(urls=url) for url in ice_servers]))

    def _RTCPeerConnection__createTransceiver(  # noqa: N802 - overrides aiortc's private factory
        self,
        direction: str,
        kind: Kind,
        sender_track: Any = None,  # noqa: ANN401, ARG002 - aiortc's signature
    ) -> RTCRtpTransceiver:
        transport = self._RTCPeerConnection__createDtlsTransport()
        sender = LiveSender(kind, transport, self._live_clock)
        receiver = LiveReceiver(kind, transport, self._live_clock)
        receiver._set_rtcp_ssrc(sender._ssrc)
        sender._stream_id = self._RTCPeerConnection__stream_id
        transceiver = RTCRtpTransceiver(direction=direction, kind=kind, sender=sender, receiver=receiver)
        transceiver._bundled = False
        self._RTCPeerConnection__transceivers.append(transceiver)
        if self._on_parts is not None:
            self._on_parts(kind, receiver, sender)
        return transceiver

    def _RTCPeerConnection__createDtlsTransport(self) -> Any:  # noqa: ANN401, N802 - overrides aiortc's private factory
        transport = super()._RTCPeerConnection__createDtlsTransport()
        ice = transport.transport._connection
        self._teach_manners(ice)
        transport.transport._send = lambda data: send_or_drop(ice, data)
        return transport

    def _teach_manners(self, ice: Any) -> None:  # noqa: ANN401 - untyped aioice
        """Bound the datagram queue, watch consent closely, and find 127.0.0.1 where asked to."""
        ice._queue = DatagramQueue(self._live_clock)
        ice.query_consent = lambda: watch_consent(ice, self._live_clock, self._silence_timeout_s)
        if self._include_loopback:
            gather = ice.get_component_candidates
            ice.get_component_candidates = lambda component, addresses, timeout=5: gather(
                component, [*addresses, "127.0.0.1"], timeout
            )


async def send_or_drop(ice: Any, data: bytes) -> None:  # noqa: ANN401 - untyped aioice
    """Send a datagram, or drop it where the socket takes no more: asyncio would keep it without bound.

    Raises:
        ConnectionError: There is no connection.
    """
    pair = ice._nominated.get(1)
    held = getattr(pair.protocol.transport, "get_write_buffer_size", None) if pair else None
    if held is None or held() < _UNSENT_BYTES:
        await ice.send(data)


async def watch_consent(ice: Any, clock: Clock, silence_timeout_s: float) -> None:  # noqa: ANN401 - untyped aioice
    """Ask for consent to send (RFC 7675) and close the ICE connection when nobody answers.

    aioice asks every 5 s and gives up after 6 failures; here it is every 0.4 s,
    and the peer is gone after `silence_timeout_s` without an answer and without
    media: a peer that is only too busy to answer within half a second still
    sends. Without any answer, consent ends after 30 s whatever it sends.
    """
    answered_ns = clock.now_ns()
    while True:
        await clock.sleep_until(clock.now_ns() + _CONSENT_EVERY_NS)
        for pair in list(ice._nominated.values()):
            request = ice.build_request(pair, nominate=False)
            key = ice.remote_password.encode()
            try:
                await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
                answered_ns = clock.now_ns()
            except stun.TransactionError:
                continue
        alive_ns = max(answered_ns, ice._queue.heard_ns)
        silent_s, unanswered_s = (clock.now_ns() - alive_ns) / 1e9, (clock.now_ns() - answered_ns) / 1e9
        if silent_s >= silence_timeout_s or unanswered_s >= _CONSENT_ENDS_S:
            # Not from inside itself: `close` cancels this task and waits for it.
            ice._query_consent_task = None
            await ice.close()
            return
