"""Signalling: SDP offers come in, answers go out, sessions are changed, watched and ended.

The form is WHIP's (RFC 9725): POST an offer, PATCH with candidates, DELETE.
"""

import asyncio
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiohttp import web

from stream.admission import Admission, Caller, Full, Guest
from stream.clock import Clock
from stream.config import ServerConfig
from stream.dubbing import Dubbing
from stream.figures import session_figures
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
_DUB_FIELDS = ("from", "to", "video", "speaker_voice", "duck")
_SDP = "application/sdp"
_FRAGMENT = "application/trickle-ice-sdpfrag"


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
        dubs: Whether sessions can dub.
    """

    config: ServerConfig
    clock: Clock
    admission: Admission
    voices: VoiceShelf
    lag: LoopLagMonitor
    make_peer: Callable[[], Caller]
    make_session: Callable[[Caller, str], Session]
    dubs: bool = False

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
        wish = self._wish(dict(request.query), Wish(Mode.PASS_THROUGH))
        offer_sdp = _text(await read_body(request, self.config.max_offer_bytes, "an SDP offer"))
        try:
            guest, answer_sdp = await self.admission.admit(
                self.make_peer, lambda peer, name: self._begin(peer, name, wish), offer_sdp
            )
        except Full as full:
            wait = {"Retry-After": str(self.config.retry_after_s)}
            raise Refusal(503, f"{full}; try again in {self.config.retry_after_s} s", wait) from full
        except OfferError as error:
            raise Refusal(400, f"the body is not an offer that can be answered: {error}") from error
        location = {"Location": f"/sessions/{guest.name}"}
        return web.Response(status=201, text=answer_sdp, content_type=_SDP, headers=location)

    def _begin(self, peer: Caller, name: str, wish: "Wish") -> Session:
        session = self.make_session(peer, name)
        if wish.mode is not Mode.PASS_THROUGH:
            session.switch(wish.mode, wish.voice, wish.dub)
        return session

    async def change(self, request: web.Request) -> web.Response:
        """PATCH with JSON switches mode or voice; with an SDP fragment adds candidates."""
        guest = self._guest(request)
        _check_type(request, "application/json", _FRAGMENT)
        if request.content_type == _FRAGMENT:
            return await self._add_candidates(guest, request)
        asked = _json_object(await read_body(request, _LARGEST_PATCH_BYTES, "a JSON object"))
        if "interrupt" in asked:
            return self._interrupt(guest, asked)
        session = guest.session
        before = session.dubbing.wish if session.dubbing is not None else None
        wish = self._wish(asked, Wish(session.mode, session.voice, before))
        session.switch(wish.mode, wish.voice, wish.dub)
        return web.json_response({"mode": wish.mode.value})

    def _interrupt(self, guest: Guest, asked: dict[str, Any]) -> web.Response:
        if asked != {"interrupt": True}:
            raise Refusal(400, 'to interrupt, send {"interrupt": true} and nothing else')
        self._dubbing(guest).interrupt()
        return web.json_response({"mode": guest.session.mode.value})

    def _dubbing(self, guest: Guest) -> Dubbing:
        if guest.session.dubbing is None:
            raise Refusal(404, 'this session is not dubbed: PATCH it with {"mode": "dub"} first')
        return guest.session.dubbing

    async def captions(self, request: web.Request) -> web.Response:
        """The dub's captions so far, as a file: `format` is vtt or srt, `text` is source or target."""
        dubbing = self._dubbing(self._guest(request))
        kind = _one_of(request.query.get("format", "vtt"), "format", ("vtt", "srt"))
        text = _one_of(request.query.get("text", "target"), "text", ("source", "target"))
        written = {"vtt": web_vtt, "srt": sub_rip}[kind](dubbing.captions(text))
        named = {"Content-Disposition": f'attachment; filename="captions.{kind}"'}
        content_type = "text/vtt" if kind == "vtt" else "application/x-subrip"
        return web.Response(text=written, content_type=content_type, charset="utf-8", headers=named)

    async def dub_sound(self, request: web.Request) -> web.Response:
        """The dub so far, as a WAV file."""
        named = {"Content-Disposition": 'attachment; filename="dub.wav"'}
        body = await asyncio.to_thread(self._dubbing(self._guest(request)).wav)
        return web.Response(body=body, content_type="audio/wav", headers=named)

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

    def _wish(self, asked: dict[str, Any], before: "Wish") -> "Wish":
        """Read mode, voice and dub from a query or a JSON object; what is not named stays as before."""
        known = ["mode", "voice", *_DUB_FIELDS]
        for name in asked:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise Refusal(400, f'there is no field "{name}", {advice}')
        mode = _mode(asked["mode"]) if "mode" in asked else before.mode
        if mode is Mode.DUB:
            if not self.dubs:
                raise Refusal(400, "mode is dub, and this server has no speech back ends; see its log")
            return Wish(mode, before.voice, _dub_wish(asked, before.dub or DubWish(source="en", target="es")))
        voice = self._voice(asked["voice"]) if "voice" in asked else before.voice or self._default_voice(mode)
        return Wish(mode, voice)

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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for."""

    mode: Mode
    voice: Voice | None = None
    dub: DubWish | None = None


def _dub_wish(asked: dict[str, Any], before: DubWish) -> DubWish:
    source, target = (_tag(asked.get(name, default), name) for name, default in _languages(before))
    videos: tuple[Literal["live", "together"], ...] = ("live", "together")
    video = _one_of(asked.get("video", before.video), "video", videos)
    voice = asked.get("speaker_voice", before.voice)
    if voice is not None and not (isinstance(voice, str) and voice.replace("-", "").isalnum()):
        raise Refusal(400, f"speaker_voice is {json.dumps(voice)}, it must be a voice's name")
    return DubWish(source=source, target=target, video=video, voice=voice, duck=_gain(asked.get("duck", before.duck)))


def _languages(before: DubWish) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("from", before.source), ("to", before.target)


def _tag(value: object, name: str) -> str:
    if isinstance(value, str) and 2 <= len(value) <= 12 and value.replace("-", "").isalnum():
        return value
    raise Refusal(400, f"{name} is {json.dumps(value)}, it must be a language such as en or es")


def _gain(value: object) -> float:
    try:
        gain = float(value)  # type: ignore[arg-type] # anything else is refused below
    except (TypeError, ValueError):
        gain = -1.0
    if not 0.0 <= gain <= 1.0:
        raise Refusal(400, f"duck is {json.dumps(value)}, it must be a number from 0 to 1")
    return gain


Choice = TypeVar("Choice", bound=str)


def _one_of(value: object, name: str, choices: tuple[Choice, ...]) -> Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise Refusal(400, f"{name} is {json.dumps(value)}, it must be {' or '.join(choices)}")


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
