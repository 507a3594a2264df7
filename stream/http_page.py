"""The page and what it needs: its files, the sample clip, the choices, uploads of voices, health."""

import asyncio
import gc
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from stream.admission import Admission
from stream.config import ServerConfig
from stream.dub_offer import NO_DUB, DubOffer
from stream.errors import MediaError
from stream.figures import engine_figures
from stream.filters import FilterShelf, Order
from stream.health import Health
from stream.http_errors import Refusal, read_body
from stream.load import EngineLoad
from stream.passage import Mode
from stream.transport.codec_threads import give_memory_back
from stream.voices import VoiceShelf

PAGE = Path(__file__).parent / "page"
SAMPLE = Path(__file__).parent / "assets" / "sample.mp4"


@dataclass(frozen=True, slots=True)
class PageApi:
    """The handlers beside /sessions.

    Attributes:
        config: Limits.
        voices: What may be chosen, and where uploads go.
        admission: Counted by /health.
        health: Reported by /health.
        load: Reported by /health.
        filters: What pictures may be filtered with.
        filter_order: When they are, where a session does not say.
        dub: What may be dubbed.
        card_memory: Reported by /health: bytes of a card, by use.
    """

    config: ServerConfig
    voices: VoiceShelf
    admission: Admission
    health: Health
    load: EngineLoad
    filters: FilterShelf
    filter_order: Order = "after"
    dub: DubOffer = NO_DUB
    card_memory: Callable[[], Mapping[str, int]] = dict

    def routes(self) -> list[web.AbstractRouteDef]:
        """What goes where."""
        return [
            web.get("/", self.page),
            web.get("/sample.mp4", self.sample),
            web.get("/api/options", self.options),
            web.post("/api/voices", self.upload),
            web.get("/health", self.report),
            web.static("/static", PAGE),
        ]

    async def page(self, _: web.Request) -> web.FileResponse:
        """The page itself."""
        return web.FileResponse(PAGE / "index.html")

    async def sample(self, _: web.Request) -> web.FileResponse:
        """The bundled clip."""
        return web.FileResponse(SAMPLE)

    async def options(self, _: web.Request) -> web.Response:
        """What may be chosen."""
        return web.json_response(
            {
                "modes": [mode.value for mode in Mode if mode is not Mode.DUB or self.dub.pairs],
                "voices": self.voices.public(),
                "max_upload_bytes": self.config.max_upload_bytes,
                "dubbing": self.dub.public(),
                "filters": self.filters.public(),
                "filter_order": self.filter_order,
            }
        )

    async def upload(self, request: web.Request) -> web.Response:
        """Take an audio file as a voice: 201 with its id."""
        audio = await read_body(request, self.config.max_upload_bytes, "an audio file")
        try:
            voice = await self.voices.add(audio, request.query.get("name", ""))
        except MediaError as error:
            raise Refusal(400, f"the body is not a voice that can be used: {error}") from error
        return web.json_response(voice.public(), status=201)

    async def report(self, request: web.Request) -> web.Response:
        """Status and room; with ?debug also what the process holds, for soak tests."""
        body: dict[str, Any] = {
            "status": self.health.status,
            "sessions": self.admission.sessions,
            "capacity": self.config.sessions_at_most,
            "engine": engine_figures(self.load.figures(), self.card_memory()),
        }
        if self.health.reasons:
            body["reasons"] = self.health.reasons
        if "debug" in request.query:
            # Of an ended session only garbage may be left; it is not held, so it is not counted.
            gc.collect()
            give_memory_back()
            body["debug"] = {"threads": threading.active_count(), "tasks": len(asyncio.all_tasks())}
        return web.json_response(body)
