"""Signalling: SDP offers come in, answers go out, sessions are changed, watched and ended.

The form is WHIP's (RFC 9725): POST an offer, PATCH with candidates, DELETE.
"""

import asyncio
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from stream.admission import Admission, Caller, Full, Guest
from stream.clock import Clock
from stream.config import ServerConfig
from stream.dub_offer import DUB_FIELDS, NO_DUB, DubOffer, read_dub_wish
from stream.dubbing import Dubbing
from stream.figures import session_figures
from stream.filter_offer import FILTER_FIELDS, read_filter_wish
from stream.filters import Chosen, FilterShelf, Order
from stream.frames import NS_PER_S
from stream.health import LoopLagMonitor
from stream.http_errors import Refusal, read_body
from stream.passage import Mode, Voice
from stream.session import Session
from stream.speech.captions import sub_rip, web_vtt
from stream.speech.wish import DubWish
from stream.transport.sdp import OfferError
from stream.voices import VoiceShelf

_LARGEST_PATCH_BYTES = 16 * 1024
_EVENT_PERIOD_NS = NS_PER_S // 2
_SDP = "application/sdp"
_MODE_FIELDS = ("mode", "voice", *DUB_FIELDS)
_FIELDS = (*_MODE_FIELDS, *FILTER_FIELDS)
_CAPTION_FILES = {"vtt": (web_vtt, "text/vtt"), "srt": (sub_rip, "application/x-subrip")}
_FRAGMENT = "application/trickle-ice-sdpfrag"


@dataclass(frozen=True, slots=True)
class _Wish:
    mode: Mode
    voice: Voice | None
    dub: DubWish | None


@dataclass(frozen=True, slots=True)
class SessionsApi:
    """The handlers under /sessions.

    Attributes:
        config: Limits.
        clock: Paces the events.
        admission: Where sessions live.
        voices: What they may speak with.
        lag: Loop lag, shown beside a session's own figures.
        make_peer: Opens one end of a connection.
        make_session: Makes a session for a peer, under a name.
        filters: What pictures may be filtered with.
        filter_order: When they are, where a wish does not say.
        dub: What may be dubbed.
    """

    config: ServerConfig
    clock: Clock
    admission: Admission
    voices: VoiceShelf
    lag: LoopLagMonitor
    make_peer: Callable[[], Caller]
    make_session: Callable[[Caller, str], Session]
    filters: FilterShelf
    filter_order: Order = "after"
    dub: DubOffer = NO_DUB

    def routes(self) -> list[web.RouteDef]:
        """What goes where."""
        return [
            web.post("/sessions", self.open),
            web.patch("/sessions/{name}", self.change),
            web.delete("/sessions/{name}", self.end),
            web.get("/sessions/{name}/events", self.watch),
            web.get("/sessions/{name}/captions", self.captions),
            web.get("/sessions/{name}/dub.wav", self.dub_sound),
        ]

    async def open(self, request: web.Request) -> web.Response:
        """POST an SDP offer, get the answer: 201 with Location."""
        _check_type(request, _SDP)
        fields = dict(request.query)
        wish, chosen = self._wish(fields, Mode.PASS_THROUGH), self._filter_wish(fields, None)
        offer_sdp = _text(await read_body(request, self.config.max_offer_bytes, "an SDP offer"))
        try:
            guest, answer_sdp = await self.admission.admit(
                self.make_peer, lambda peer, name: self._begin(peer, name, wish, chosen), offer_sdp
            )
        except Full as full:
            wait = {"Retry-After": str(self.config.retry_after_s)}
            raise Refusal(503, f"{full}; try again in {self.config.retry_after_s} s", wait) from full
        except OfferError as error:
            raise Refusal(400, f"the body is not an offer that can be answered: {error}") from error
        location = {"Location": f"/sessions/{guest.name}"}
        return web.Response(status=201, text=answer_sdp, content_type=_SDP, headers=location)

    def _begin(self, peer: Caller, name: str, wish: _Wish, chosen: Chosen | None) -> Session:
        session = self.make_session(peer, name)
        if chosen is not None:
            session.choose_filter(chosen)
        if wish.mode is not Mode.PASS_THROUGH:
            session.switch(wish.mode, wish.voice, wish.dub)
        return session

    async def change(self, request: web.Request) -> web.Response:
        """PATCH with JSON switches mode, voice, dub or filter, or interrupts the dub; a fragment adds candidates."""
        guest = self._guest(request)
        _check_type(request, "application/json", _FRAGMENT)
        if request.content_type == _FRAGMENT:
            return await self._add_candidates(guest, request)
        wish = _json_object(await read_body(request, _LARGEST_PATCH_BYTES, "a JSON object"))
        session = guest.session
        if "interrupt" in wish:
            _interrupt(wish, session.dubbing)
            return web.json_response({"mode": session.mode.value})
        before = session.dubbing.wish if session.dubbing is not None else None
        wanted = self._wish(wish, session.mode, session.voice, before)
        chosen = self._filter_wish(wish, session.filtering.chosen)
        if any(field in FILTER_FIELDS for field in wish):
            session.choose_filter(chosen)
        # A voice would begin again with its mode: what is only filtered goes on.
        if not wish or any(field in _MODE_FIELDS for field in wish):
            session.switch(wanted.mode, wanted.voice, wanted.dub)
        filtered = {} if chosen is None else {"filter": chosen.public()}
        return web.json_response({"mode": wanted.mode.value, **filtered})

    async def _add_candidates(self, guest: Guest, request: web.Request) -> web.Response:
        fragment = _text(await read_body(request, _LARGEST_PATCH_BYTES, "an SDP fragment"))
        try:
            await guest.peer.add_candidates(fragment)
        except OfferError as error:
            raise Refusal(400, f"the body is not a fragment that can be used: {error}") from error
        return web.Response(status=204)

    async def end(self, request: web.Request) -> web.Response:
        """DELETE a session; doing it twice is the same as once."""
        await self.admission.dismiss(request.match_info["name"])
        return web.Response(status=200)

    async def captions(self, request: web.Request) -> web.Response:
        """GET what was said (?text=source) or dubbed (target) as a WebVTT or SubRip file."""
        dubbing = self._dubbing(request)
        form = _one_of(request, "format", tuple(_CAPTION_FILES))
        text = _one_of(request, "text", ("target", "source"))
        write, content_type = _CAPTION_FILES[form]
        return web.Response(
            text=write(dubbing.captions(text)),
            content_type=content_type,
            charset="utf-8",
            headers=_attachment(f"captions-{text}.{form}"),
        )

    async def dub_sound(self, request: web.Request) -> web.Response:
        """GET the dub so far as a WAV file."""
        dubbing = self._dubbing(request)
        # Half an hour is 86 MB: not written on the loop. It copies what was kept up to now.
        wav = await asyncio.to_thread(dubbing.wav)
        return web.Response(body=wav, content_type="audio/wav", headers=_attachment("dub.wav"))

    def _dubbing(self, request: web.Request) -> Dubbing:
        guest = self._guest(request)
        if guest.session.dubbing is None:
            raise Refusal(
                404, f'session {guest.name} is in mode {guest.session.mode.value}: PATCH {{"mode": "dub"}} first'
            )
        return guest.session.dubbing

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Send a session's figures twice a second, as server-sent events, until it ends."""
        guest = self._guest(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        due_ns = self.clock.now_ns()
        try:
            while not guest.task.done():
                figures = json.dumps(session_figures(guest.session, self.lag))
                await response.write(f"data: {figures}\n\n".encode())
                due_ns = max(due_ns + _EVENT_PERIOD_NS, self.clock.now_ns())
                await self._pause(guest, due_ns)
            await response.write(b"event: end\ndata: {}\n\n")
        except ConnectionResetError:
            return response
        return response

    async def _pause(self, guest: Guest, until_ns: int) -> None:
        """Wait for the next event, or for the end of the session."""
        pause = asyncio.ensure_future(self.clock.sleep_until(until_ns))
        try:
            await asyncio.wait([pause, guest.task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()

    def _guest(self, request: web.Request) -> Guest:
        name = request.match_info["name"]
        guest = self.admission.find(name)
        if guest is None:
            raise Refusal(404, f"there is no session {name}: it has ended, POST a new offer to /sessions")
        return guest

    def _wish(self, wish: dict[str, Any], mode: Mode, voice: Voice | None = None, dub: DubWish | None = None) -> _Wish:
        """Read a wish from a query or a JSON object; what is not named stays as given here."""
        _check_fields(wish)
        if "mode" in wish:
            mode = _mode(wish["mode"])
        extra = [field for field in DUB_FIELDS if field in wish]
        if extra and mode is not Mode.DUB:
            raise Refusal(400, f'{extra[0]} belongs to mode "dub", the mode is "{mode.value}": send both')
        chosen = self._voice(wish["voice"]) if "voice" in wish else voice or self._default_voice(mode)
        return _Wish(mode, chosen, read_dub_wish(wish, dub, self.dub) if mode is Mode.DUB else None)

    def _filter_wish(self, wish: dict[str, Any], before: Chosen | None) -> Chosen | None:
        return read_filter_wish(wish, before, self.filters, self.filter_order)

    def _voice(self, voice_id: object) -> Voice:
        shelved = self.voices.find(voice_id) if isinstance(voice_id, str) else None
        if shelved is None:
            raise Refusal(
                400, f"voice is {json.dumps(voice_id)}, known ids are at /api/options; upload one to /api/voices"
            )
        return shelved.voice

    def _default_voice(self, mode: Mode) -> Voice | None:
        shelved = self.voices.first
        if shelved is None and mode is Mode.RE_VOICE:
            raise Refusal(400, "voice is missing and there is none to take; upload one to /api/voices")
        return None if shelved is None else shelved.voice


def _check_fields(wish: dict[str, Any]) -> None:
    for field in wish:
        if field not in _FIELDS:
            near = difflib.get_close_matches(field, _FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_FIELDS)}"
            raise Refusal(400, f'there is no field "{field}", {hint}')


def _interrupt(wish: dict[str, Any], dubbing: Dubbing | None) -> None:
    if wish != {"interrupt": True}:
        raise Refusal(400, 'interrupt goes alone and is true: {"interrupt": true}')
    if dubbing is None:
        raise Refusal(400, 'interrupt needs mode "dub": there is no dub to interrupt')
    dubbing.interrupt()


def _one_of(request: web.Request, field: str, values: tuple[str, ...]) -> str:
    """The value of a query field; the first one where it is left out."""
    value = request.query.get(field, values[0])
    if value not in values:
        raise Refusal(400, f"{field} is {json.dumps(value)}, it must be {' or '.join(values)}")
    return value


def _attachment(file_name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file_name}"'}


def _mode(name: object) -> Mode:
    for mode in Mode:
        if mode.value == name:
            return mode
    raise Refusal(400, f"mode is {json.dumps(name)}, it must be {' or '.join(mode.value for mode in Mode)}")


def _check_type(request: web.Request, *types: str) -> None:
    if request.content_type not in types:
        raise Refusal(415, f"Content-Type is {request.content_type}, it must be {' or '.join(types)}")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "the body is not text in UTF-8") from error


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(400, 'the body must be a JSON object such as {"mode": "pass-through"}')
    return value
