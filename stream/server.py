"""The server: one process, one event loop, one page, and sessions up to its capacity."""

import asyncio
import ctypes
import errno
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from kernels.mel import MelWindow
from stream.admission import Admission, Caller
from stream.clock import Clock, MonotonicClock
from stream.config import Config, ServerConfig
from stream.dub_offer import NO_DUB, DubOffer, find_offer
from stream.dubbing import Dubbing
from stream.engines import Engines, open_engines
from stream.errors import ConfigError
from stream.health import Health, LoopLagMonitor
from stream.http_errors import explain, same_origin_only
from stream.http_page import PageApi
from stream.http_sessions import SessionsApi
from stream.media.codec_device import CPU, Codecs, choose
from stream.session import Session
from stream.speech.back_ends import BackEnds
from stream.speech.chain import Chain, open_chain
from stream.speech.clauses import ClauseConfig
from stream.speech.glossary import Glossary
from stream.speech.lag import LagConfig
from stream.speech.wish import DubWish
from stream.transport.peer import Peer
from stream.voice import VoiceTrack
from stream.voices import ShelvedVoice, VoiceShelf

log = logging.getLogger(__name__)

_SAMPLE_VOICE = Path(__file__).parent / "assets" / "voice.wav"
# Threads that run Python give way to the event loop after this long (measured: loop lag p95 6.4 to 3.6 ms).
_SWITCH_INTERVAL_S = 0.0005
# malloc.h of glibc.
_M_ARENA_MAX = -8


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of a server, made once; `app` carries them over HTTP."""

    config: Config
    clock: Clock
    engines: Engines
    health: Health
    lag: LoopLagMonitor
    admission: Admission
    voices: VoiceShelf
    make_peer: Callable[[], Caller]
    back_ends: BackEnds
    dub: DubOffer = NO_DUB

    def make_session(self, peer: Caller, name: str) -> Session:
        """A session for a peer."""
        opener = self._open_dubbing if self.dub.pairs else None
        return Session(
            peer, self.config.session, self.engines, self.clock, health=self.health, name=name, open_dubbing=opener
        )

    def _open_dubbing(
        self, wish: DubWish, media_now_ns: Callable[[], int], delay_ns: int, on_off: Callable[[str], None]
    ) -> Dubbing:
        def open_for(wish: DubWish) -> Chain:
            glossary = Glossary.read(Path(wanted.glossary)) if wanted.glossary else None
            return open_chain(wish.source, [wish.target], self.clock, self.back_ends, glossary=glossary)

        wanted = self.config.dubbing
        return Dubbing(
            wish,
            open_for,
            self.engines.mel_window,
            self.clock,
            media_now_ns,
            delay_ns=delay_ns,
            lag=LagConfig(target_ms=wanted.target_lag_ms, max_ms=wanted.lag_max_ms),
            clauses=ClauseConfig(max_words=wanted.max_words),
            on_off=on_off,
        )

    def app(self) -> web.Application:
        """The HTTP application."""
        limits, filters, order = self.config.server, self.engines.filters, self.config.filters.order
        app = web.Application(
            middlewares=[explain, same_origin_only(limits.host, limits.allowed_hosts)],
            client_max_size=limits.max_upload_bytes,
        )
        engines = self.engines
        page = PageApi(
            limits,
            self.voices,
            self.admission,
            self.health,
            engines.batcher.load,
            filters,
            order,
            self.dub,
            card_memory=lambda: engines.card_memory,
        )
        app.add_routes(page.routes())
        app.add_routes(
            SessionsApi(
                limits,
                self.clock,
                self.admission,
                self.voices,
                self.lag,
                self.make_peer,
                self.make_session,
                filters,
                order,
                self.dub,
            ).routes()
        )
        return app


def make_server(
    config: Config,
    engines: Engines,
    clock: Clock,
    *,
    make_peer: Callable[[], Caller] | None = None,
    models: Path = Path(),
    dub: DubOffer = NO_DUB,
    codecs: Codecs = CPU,
) -> Server:
    """Put a server together.

    Args:
        config: Everything the operator set.
        engines: Loaded; closed by whoever loaded them.
        clock: The time of all sessions.
        make_peer: Opens one end of a connection; a WebRTC peer where left out.
        models: Where `visavis models` keeps models of speech; with `dub`.
        dub: What sessions can be dubbed from and to.
        codecs: Who decodes and encodes the pictures of peers.
    """
    health = Health()

    def webrtc_peer() -> Caller:
        return Peer(config.peer, clock, codecs=codecs)

    return Server(
        config=config,
        clock=clock,
        engines=engines,
        health=health,
        lag=LoopLagMonitor(clock),
        admission=Admission(config.server, health, engines.batcher.load.figures),
        voices=_shelf(config.server, engines.mel_window),
        make_peer=make_peer or webrtc_peer,
        back_ends=config.dubbing.back_ends(models),
        dub=dub,
    )


def _shelf(config: ServerConfig, window: MelWindow) -> VoiceShelf:
    sample = ShelvedVoice("sample", "Sample voice", VoiceTrack.open(_SAMPLE_VOICE, window=window))
    return VoiceShelf(
        [sample],
        lambda audio: VoiceTrack.open(audio, name="the upload", longest_s=config.max_voice_s, window=window),
        config.max_voices,
    )


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[int]:
    """Listen while the block runs; then end every session and every connection.

    Yields:
        The port.

    Raises:
        ConfigError: The address cannot be listened on.
    """
    limits = server.config.server
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    lag = asyncio.create_task(server.lag.run(), name="loop lag")
    try:
        await _listen(runner, limits.host, limits.port)
        yield runner.addresses[0][1]
    finally:
        lag.cancel()
        await server.admission.dismiss_all()
        await runner.cleanup()
        server.voices.close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is in use. Stop what listens there, or choose another: visavis run --port 8081"
            ) from error
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port} ({reason}). Choose others: visavis run --host ADDRESS --port NUMBER"
        ) from error


def serve(config: Config, models: Path, *, cache_folder: Path | None = None, own_filters: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM; this owns the process.

    Args:
        config: Everything the operator set.
        models: Where `visavis models` keeps models of speech.
        cache_folder: Where compiled networks are kept between starts; None keeps none.
        own_filters: Where this user's filters lie.

    Raises:
        ConfigError, EngineError: It cannot start; the message ends with the remedy.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _use_few_arenas()
    codecs = open_codecs(config)
    engines = open_engines(config, cache_folder=cache_folder, own_filters=own_filters)
    # What the imports made lives as long as the process: left out of every collection, the longest of which
    # would otherwise hold up the loop for a tenth of a second.
    gc.collect()
    gc.freeze()
    try:
        codecs = codecs.sharing(lambda: engines.device, config.codecs.card_pictures_mb)
        if codecs.shared is not None:
            log.warning("%s", codecs)
        asyncio.run(_serve(config, engines, models, codecs))
    finally:
        engines.close()


def open_codecs(config: Config) -> Codecs:
    """Find out who decodes and encodes.

    Raises:
        ConfigError: The card was asked for and cannot do it.
    """
    if config.codecs.device == "nvidia" and config.peer.video_codec == "vp8":
        raise ConfigError(
            'no card encodes VP8: with [codecs] device = "nvidia" set [peer] video_codec to "auto" or "h264", '
            'or the device to "auto"'
        )
    codecs = choose(config.codecs)
    if config.codecs.device != "cpu":
        # A server shows warnings and errors only, and whoever asks for "auto" is to know which one runs.
        log.warning("%s", codecs)
    return codecs


def _use_few_arenas() -> None:
    """Keep glibc from giving each new thread a heap of its own; other C libraries have no such heaps.

    Every session has threads of its own, so with a heap each a server grew by 20 MB over its first
    50 sessions; with two heaps it stays within 2 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


async def _serve(config: Config, engines: Engines, models: Path, codecs: Codecs) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    clock = MonotonicClock()
    if config.dubbing.glossary:
        Glossary.read(Path(config.dubbing.glossary))  # what is wrong with it shows at start
    offer = await asyncio.to_thread(find_offer, clock, config.dubbing.back_ends(models))
    if not offer.pairs:
        log.warning("%s", "; ".join(offer.notes))
    async with running(make_server(config, engines, clock, models=models, dub=offer, codecs=codecs)) as port:
        print(f"visavis serves http://{config.server.host}:{port} (Ctrl-C stops it)", flush=True)
        await stop.wait()
        log.info("stopping")
