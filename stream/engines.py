"""What the sessions of a process share: the generator, and the one thread that runs it."""

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kernels.cuda.device import Device
from kernels.mel import MelWindow
from models.card_engine import CardEngine
from models.catalogue import WEIGHTS, LoadedEngine, load_engine, mel_window, terms_of
from models.engine import Engine, EngineError
from stream.batcher import GATHER_NS, Batcher, Drawing
from stream.card_painter import CardPainter, painter_for
from stream.clock import Clock, MonotonicClock
from stream.config import Config, EngineConfig
from stream.errors import ConfigError
from stream.faces import FaceFinder, LoadedNetworks, load_networks, open_face_finder
from stream.filter_opening import shelf_opener
from stream.filter_stage import FilterStage
from stream.filters import Filter, FilterShelf
from stream.frames import NS_PER_MS, FaceCrop, VideoFrame
from stream.painter import Painter
from stream.pipeline import Lane, attempt
from stream.render import RenderStage

log = logging.getLogger(__name__)

# Sets of face networks loaded before the first session; a set is one second and some 30 MB.
_LOADED_AT_START = 4


class RenderStageLike(Drawing, Protocol):
    """The stage that makes the lips, with its account of the pictures it left alone."""

    @property
    def passed(self) -> dict[str, int]:
        """Pictures returned unchanged, by reason."""
        ...

    @property
    def made(self) -> int:
        """Pictures with at least one mouth made."""
        ...


class FinderPool:
    """Face finders whose networks outlive them.

    Networks take a second to load, and loading disturbs the sessions that run,
    so those of an ended stream serve the next one.

    Args:
        load: Loads a finder's networks, which keep nothing between pictures.
        make: Makes a finder for crops of a size around them.
        loaded: How many sets are loaded now, and kept.
    """

    def __init__(
        self, load: Callable[[], LoadedNetworks], make: Callable[[LoadedNetworks, int], FaceFinder], loaded: int
    ) -> None:
        self._load = load
        self._make = make
        self._kept = loaded
        self._idle = deque(load() for _ in range(loaded))

    def open(self, crop_size: int) -> FaceFinder:
        """A finder that returns its networks when it is closed."""
        try:
            networks = self._idle.pop()
        except IndexError:
            networks = self._load()
        return _Borrowed(self._make(networks, crop_size), lambda: self._take_back(networks))

    def _take_back(self, networks: LoadedNetworks) -> None:
        if len(self._idle) < self._kept:
            self._idle.append(networks)


class _Borrowed:
    """A finder that says when it is closed."""

    def __init__(self, finder: FaceFinder, closed: Callable[[], None]) -> None:
        self.find = finder.find
        self._finder = finder
        self._closed = closed

    def close(self) -> None:
        self._finder.close()
        self._closed()


class FaceStage:
    """Finds the faces of a picture; the finder is opened on the thread that uses it.

    Args:
        open_finder: Opens a finder; it keeps track of faces, so each session has its own.
    """

    name = "faces"

    def __init__(self, open_finder: Callable[[], FaceFinder]) -> None:
        self._open_finder = open_finder
        self._finder: FaceFinder | None = None

    def open(self) -> FaceFinder:
        """Open the finder, if that has not been done."""
        if self._finder is None:
            self._finder = self._open_finder()
        return self._finder

    def process(self, frame: VideoFrame) -> tuple[FaceCrop, ...]:
        """The faces in `frame`, possibly none."""
        return tuple(self.open().find(frame))

    def close(self) -> None:
        """Release the finder, if one was opened."""
        if self._finder is not None:
            self._finder.close()
            self._finder = None


class Engines:
    """The process's generator and its thread, and how a session opens its own parts.

    Args:
        open_engine: Loads the generator; called again, once, when it has broken down.
        open_finder: Opens a face finder for crops of this size.
        open_renderer: Makes a render stage that is painted by this painter.
        open_painter: Makes the painter around the generator.
        clock: The clock of the sessions' deadlines.
        gather_ns: See `Batcher`.
        open_filters: Opens the filters that sessions can choose; None where there are none.
        filter_mark: `FilterStage`'s `mark`.
        lips_mark: The same's.

    Attributes:
        lane: The engine's thread.
        batcher: What shares it among the sessions.
        engine: The generator that runs.
        filters: What sessions can choose.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        open_finder: Callable[[int], FaceFinder],
        open_renderer: Callable[[Painter], RenderStageLike],
        *,
        open_painter: Callable[[Engine], Painter] = painter_for,
        clock: Clock | None = None,
        gather_ns: int = GATHER_NS,
        open_filters: Callable[[Clock], FilterShelf] | None = None,
        filter_mark: str = "",
        lips_mark: str = "",
    ) -> None:
        self._open_engine = open_engine
        self._open_painter = open_painter
        self._open_finder = open_finder
        self._open_renderer = open_renderer
        self._rebuilt = False
        # What belongs to a device is opened, used and closed on one thread.
        self.lane = Lane("engine")
        self.engine, painter = self.lane.do(self._open)
        self._clock = clock or MonotonicClock()
        self.batcher = Batcher(self.lane, painter, self._clock, gather_ns=gather_ns)
        self.filters = self._opened(open_filters or _no_filters)
        self._marks = {"mark": filter_mark, "lips_mark": lips_mark}

    def _open(self) -> tuple[Engine, Painter]:
        engine = self._open_engine()
        return engine, self._open_painter(engine)

    def _opened(self, open_filters: Callable[[Clock], FilterShelf]) -> FilterShelf:
        """The shelf, opened on the engine's thread; where that fails, nothing else stays open."""
        try:
            return self.lane.do(lambda: open_filters(self._clock))
        except (ConfigError, EngineError):
            self.filters = _no_filters(self._clock)
            self.close()
            raise

    @property
    def crop_size(self) -> int:
        """Side of the square that the generator takes, in pixels."""
        return int(self.engine.inputs["face"].shape[-1] or 0)

    @property
    def mel_window(self) -> MelWindow:
        """Mel columns that the generator sees with each picture."""
        return mel_window(self.engine)

    @property
    def painter(self) -> Painter:
        """What paints for all sessions now."""
        return self.batcher.painter

    @property
    def card_memory(self) -> dict[str, int]:
        """Bytes that painting takes of a card, by use; nothing where there is none."""
        painter = self.painter
        return painter.memory if isinstance(painter, CardPainter) else {}

    @property
    def device(self) -> Device | None:
        """The card that paints now; None where the processor paints."""
        engine = self.engine.engine if isinstance(self.engine, LoadedEngine) else self.engine
        return engine.device if isinstance(engine, CardEngine) else None

    def paints_where_it_lies(self, frame: VideoFrame) -> bool:
        """Whether lips are drawn into such a picture without a way up for it and down; one in memory needs both."""
        return frame.on_card is not None and frame.on_card.device is self.device

    def face_stage(self) -> FaceStage:
        """A face stage for one session."""
        return FaceStage(lambda: self._open_finder(self.crop_size))

    def render_stage(self) -> RenderStageLike:
        """A render stage for one session, to be submitted to the batcher."""
        return self._open_renderer(self.painter)

    def filter_stage(self) -> FilterStage:
        """A filter stage for one session, to be run on the engine's lane."""
        return FilterStage(self._clock, self.filters.meters, **self._marks)

    def rebuild(self, broken: Painter) -> None:
        """Replace the generator behind `broken` after it has failed for good; called on the engine's thread.

        Every session goes on with the new one from its next picture on, whoever asked first.

        Raises:
            ConfigError: The generator was loaded anew before and broke again.
        """
        if self.painter is not broken:
            return
        if self._rebuilt:
            raise ConfigError("the engine broke down twice. Check it: visavis engines check")
        self._rebuilt = True
        # First, so that a device has its memory back; a broken one may refuse even this.
        attempt(broken.close)
        attempt(self.engine.close)
        self.engine, self.batcher.painter = self._open()

    def close(self) -> None:
        """End the engine's thread and release the generator, after what was asked of it; twice is as good as once."""
        if self.lane.closed:
            return
        self.lane.post(self._release)
        self.lane.close()

    def _release(self) -> None:
        self.filters.close()
        self.painter.close()
        self.engine.close()


def _no_filters(clock: Clock) -> FilterShelf:
    return FilterShelf((), _none, clock)


def _none(name: str) -> Filter:
    raise EngineError(f"there is no filter {name!r}")


def open_generator(wanted: EngineConfig, cache_folder: Path | None) -> LoadedEngine:
    """Open the generator that the configuration names.

    Raises:
        EngineError: It is missing or stale; the message ends with the remedy.
    """
    return load_engine(
        wanted.name,
        wanted.backend,
        wanted.precision,
        wanted.threads or None,
        weights_folder=Path(wanted.folder) if wanted.folder else WEIGHTS,
        cache_folder=cache_folder,
    )


def open_engines(config: Config, *, cache_folder: Path | None = None, own_filters: Path | None = None) -> Engines:
    """Load what the configuration names, and try a face finder, so that what is missing shows at start.

    Args:
        config: Names the generator, the filters and the face finder.
        cache_folder: Where compiled networks are kept between starts; None keeps none.
        own_filters: Where this user's filters lie.

    Raises:
        ConfigError, EngineError: Something is missing or stale; the message ends with the remedy.
    """

    def open_engine() -> LoadedEngine:
        return open_generator(config.engine, cache_folder)

    def open_session_finder(crop_size: int) -> FaceFinder:
        return open_finder(crop_size)

    # The generator first: it is what is missing most often, and the face networks take a second.
    engines = Engines(
        open_engine,
        open_session_finder,
        lambda painter: RenderStage(painter, config.render),
        open_painter=lambda engine: painter_for(engine, config.engine.card_pictures_mb),
        gather_ns=round(config.engine.gather_ms * NS_PER_MS),
        open_filters=shelf_opener(config.filters, own_filters, cache_folder),
        filter_mark=config.filters.badge,
        lips_mark=config.render.badge,
    )
    open_finder = _finder_opener(config)
    if terms := terms_of(engines.engine):
        log.warning("%s", terms)
    log.info("generator: %s; faces: %s", engines.engine, config.faces.backend)
    return engines


def _finder_opener(config: Config) -> Callable[[int], FaceFinder]:
    """How face finders are opened; one is tried, so that what is missing shows at start."""
    wanted = config.faces

    def make(networks: LoadedNetworks | None, crop_size: int) -> FaceFinder:
        return open_face_finder(wanted.backend, crop_size=crop_size, max_faces=wanted.max_faces, networks=networks)

    if wanted.backend == "openvino":
        return FinderPool(load_networks, make, min(config.server.sessions_at_most, _LOADED_AT_START)).open
    make(None, 96).close()
    return lambda crop_size: make(None, crop_size)
