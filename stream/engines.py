"""What the sessions of a process share: the generator, and the one thread that runs it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from models.catalogue import LoadedEngine, load_engine
from models.engine import Engine
from stream.config import Config
from stream.errors import ConfigError
from stream.faces import FaceFinder, open_face_finder
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.pipeline import Lane
from stream.render import RenderStage
from stream.stages import Stage

log = logging.getLogger(__name__)


class RenderStageLike(Stage[SyncedFrame, VideoFrame], Protocol):
    """The stage that makes the lips, with its account of the pictures it left alone."""

    @property
    def passed(self) -> dict[str, int]:
        """Pictures returned unchanged, by reason."""
        ...


class FaceStage:
    """Finds the faces of a picture; the finder is opened on the thread that uses it.

    Args:
        open_finder: Opens a finder; it keeps track of faces, so each session has its own.
    """

    name = "faces"

    def __init__(self, open_finder: Callable[[], FaceFinder]) -> None:
        self._open_finder = open_finder
        self._finder: FaceFinder | None = None

    def process(self, frame: VideoFrame) -> tuple[FaceCrop, ...]:
        """The faces in `frame`, possibly none."""
        if self._finder is None:
            self._finder = self._open_finder()
        return tuple(self._finder.find(frame))

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
        open_renderer: Makes a render stage around the generator.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        open_finder: Callable[[int], FaceFinder],
        open_renderer: Callable[[Engine], RenderStageLike],
    ) -> None:
        self._open_engine = open_engine
        self._open_finder = open_finder
        self._open_renderer = open_renderer
        self._rebuilt = False
        self.lane = Lane("engine")
        self.engine = open_engine()

    @property
    def crop_size(self) -> int:
        """Side of the square that the generator takes, in pixels."""
        return int(self.engine.inputs["face"].shape[-1] or 0)

    def face_stage(self) -> FaceStage:
        """A face stage for one session."""
        return FaceStage(lambda: self._open_finder(self.crop_size))

    def render_stage(self) -> RenderStageLike:
        """A render stage for one session, around the shared generator."""
        return self._open_renderer(self.engine)

    def rebuilt_render_stage(self, broken: Engine) -> RenderStageLike:
        """The same after `broken` has failed for good; called on the engine's thread.

        Raises:
            ConfigError: The generator was loaded anew before and broke again.
        """
        if self.engine is broken:
            if self._rebuilt:
                raise ConfigError("the engine broke down twice. Check it: visavis engines check")
            self._rebuilt = True
            self.engine = self._open_engine()
            broken.close()
        return self.render_stage()

    def close(self) -> None:
        """End the engine's thread and release the generator."""
        self.lane.close()
        self.engine.close()


def open_engines(config: Config, *, cache_folder: Path | None = None) -> Engines:
    """Load what the configuration names, and try a face finder, so that what is missing shows at start.

    Args:
        config: Names the generator and the face finder.
        cache_folder: Where compiled networks are kept between starts; None keeps none.

    Raises:
        ConfigError, EngineError: Something is missing or stale; the message ends with the remedy.
    """
    wanted = config.engine

    def open_engine() -> LoadedEngine:
        return load_engine(
            wanted.name, wanted.backend, wanted.precision, wanted.threads or None, cache_folder=cache_folder
        )

    def open_finder(crop_size: int) -> FaceFinder:
        return open_face_finder(config.faces.backend, crop_size=crop_size, max_faces=config.faces.max_faces)

    engines = Engines(open_engine, open_finder, lambda engine: RenderStage(engine, config.render))
    log.info("generator: %s; faces: %s", engines.engine, config.faces.backend)
    open_finder(engines.crop_size).close()
    return engines
