"""The filters of a process: opened once, kept, and shared by all sessions.

A session holds a `Chosen`, which is never changed, only replaced: what is chosen now is what the next picture gets,
and nothing is opened, built or emptied for it.
"""

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from models.engine import Array, EngineError, TensorSpec
from stream.clock import Clock
from stream.errors import ConfigError
from stream.filter_sources import CLASSES, SOURCES
from stream.stages import StageMeter

log = logging.getLogger(__name__)

Order = Literal["before", "after"]
Area = Literal["frame", "face", "portrait"]

ORDERS: tuple[Order, ...] = get_args(Order)
"""A filter works before the lips are made, which then look like it, or after, and changes them too."""

AREAS: tuple[Area, ...] = get_args(Area)
"""A filter works on the whole frame, in a square around each face, or in place of everything.

The last is for filters that hide who is there: a portrait is drawn where each face is, the rest is a backdrop, and no
pixel of the camera's picture is left, whatever fails.
"""

# A network's first pictures take longer than all others.
_WARM_UP = 2


class About(Protocol):
    """What a session has to know of a filter beside its network."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def title(self) -> str:
        """One line for people."""
        ...

    @property
    def region(self) -> str:
        """One of `AREAS`: what it was made for."""
        ...

    @property
    def source(self) -> str:
        """What it is shown, one of `stream.filter_sources.SOURCES`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Of a layout that it is shown, by channel; empty where it is shown something else."""
        ...


class Filter(Protocol):
    """A loaded filter; `models.filter_catalogue.LoadedFilter` is one. Used on one thread."""

    @property
    def manifest(self) -> About:
        """What it is."""
        ...

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of what it is shown and of what it draws."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What its network takes, "frame" among it."""
        ...

    @property
    def follows(self) -> bool:
        """Whether it looks for what moved since the last picture, and can do without."""
        ...

    def start(self) -> dict[str, Array]:
        """What goes in beside the first picture of a stream; the same for every stream."""
        ...

    def draw(
        self, frame: Array, beside: Mapping[str, Array], *, hurried: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Draw one picture.

        Args:
            frame: What it is shown, float32 [1, C, h, w].
            beside: From `start`, or what came beside the last picture.
            hurried: Do without looking for what moved: what moves is less steady in this picture.

        Returns:
            float32 [1, 3, h, w] in [-1, 1], and what goes in beside the next picture.
        """
        ...

    def close(self) -> None:
        """Give the memory back; calling it twice is harmless."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A filter, and how it is laid on.

    Attributes:
        filter: Which one.
        strength: How much of it there is, 0 to 1.
        wipe: The share of the picture's width that stays as it was, from the left: a split screen.
        order: See `ORDERS`.
        area: See `AREAS`.
    """

    filter: Filter
    strength: float = 1.0
    wipe: float = 0.0
    order: Order = "after"
    area: Area = "frame"

    def __post_init__(self) -> None:
        for name, value in (("strength", self.strength), ("wipe", self.wipe)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value:g}, it must be from 0 to 1")
        if (problem := _shows_through(self)) is not None:
            raise ValueError(problem)

    @property
    def name(self) -> str:
        """The filter's name."""
        return self.filter.manifest.name

    @property
    def anonymous(self) -> bool:
        """Whether nothing of the camera's picture may be seen."""
        return self.area == "portrait"

    @property
    def needs_faces(self) -> bool:
        """Whether it works where faces are."""
        return self.area != "frame"

    @property
    def is_seen(self) -> bool:
        """Whether any of it shows."""
        return self.strength > 0.0 and self.wipe < 1.0

    @property
    def seen_by_lips(self) -> tuple[str, Area] | None:
        """What of it is in the pictures that lips are made from; None where nothing is."""
        return (self.name, self.area) if self.order == "before" and self.is_seen else None

    def public(self) -> dict[str, Any]:
        """As the page takes it."""
        return {
            "name": self.name,
            "strength": self.strength,
            "wipe": self.wipe,
            "order": self.order,
            "region": self.area,
        }


def lay(
    made: Filter,
    *,
    strength: float | None = None,
    wipe: float | None = None,
    order: Order | None = None,
    area: Area | None = None,
    usual: Order = "after",
) -> Chosen:
    """A filter as it is laid on where nothing else was asked for: whole, and on what it was made for.

    Args:
        made: The filter.
        strength: See `Chosen`; None for all of it.
        wipe: See `Chosen`; None for no split screen.
        order: See `Chosen`; None for `usual`, or before the lips where it hides who is there.
        area: See `Chosen`; None for what it was made for.
        usual: Where nothing is said.

    Raises:
        ValueError: It cannot be laid on like this; the message says why.
    """
    found = area or cast("Area", made.manifest.region)
    return Chosen(
        made,
        1.0 if strength is None else strength,
        0.0 if wipe is None else wipe,
        order or ("before" if found == "portrait" else usual),
        found,
    )


def standing_in(made: Filter) -> Chosen:
    """A filter as it is laid on pictures in which something stands before a mouth.

    Raises:
        ValueError: It draws nobody anew, so that what stands there would stay.
    """
    name, region = made.manifest.name, made.manifest.region
    if region != "portrait":
        raise ValueError(f"{name} is for the region {region}, a covered mouth needs one for the region portrait")
    return lay(made)


def _shows_through(chosen: Chosen) -> str | None:
    """Why a filter that hides who is there would not; None where all is well."""
    name, made_for = chosen.name, chosen.filter.manifest.region
    if (chosen.area == "portrait") != (made_for == "portrait"):
        return f"region is {chosen.area}, the filter {name} is for {made_for} alone"
    if not chosen.anonymous:
        return None
    if chosen.strength < 1.0 or chosen.wipe > 0.0:
        return f"{name} hides who is there: strength stays 1 and wipe 0, or the camera's picture would be seen"
    if chosen.order == "after":
        return f"{name} draws lips too, and made ones would be lost below it: order must be before"
    return None


class FilterShelf:
    """Loaded filters by name.

    Args:
        names: Which ones to open, now; the thread that does is the one that they are used on.
        open_filter: Opens one.
        clock: Times their networks.
        required: One that cannot be opened is an error; otherwise it is left out, and said.
        when_covered: Which of them draws pictures with a covered mouth, and is required too; "" for none.

    Attributes:
        notes: Why which filters are not here.
        when_covered: The same as it is laid on; None for none.

    Raises:
        ConfigError: `when_covered` is none of them, or draws nobody anew.
        EngineError: A filter that is required cannot be opened; the message ends with the remedy.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_filter: Callable[[str], Filter],
        clock: Clock,
        *,
        required: bool = False,
        when_covered: str = "",
    ) -> None:
        self._filters: dict[str, Filter] = {}
        self.meters: dict[str, StageMeter] = {}
        self.notes: tuple[str, ...] = ()
        for name in names:
            try:
                self._filters[name] = opened(name, open_filter, clock)
            except EngineError as error:
                if required or name == when_covered:
                    self.close()
                    raise
                log.warning("the filter %s is left out: %s", name, error)
                self.notes += (f"{name}: {error}",)
            else:
                self.meters[name] = StageMeter()
        self.when_covered = self._standing_in(when_covered) if when_covered else None

    def _standing_in(self, name: str) -> Chosen:
        try:
            return standing_in(self.find(name))
        except (ConfigError, ValueError) as error:
            self.close()
            raise ConfigError(f"[filters] when_covered: {error}. Take one of those that are offered") from None

    @property
    def names(self) -> list[str]:
        """What can be chosen."""
        return list(self._filters)

    def find(self, name: str) -> Filter:
        """The filter of that name.

        Raises:
            ConfigError: There is none; the message names the nearest.
        """
        if name not in self._filters:
            raise ConfigError(unknown(name, self.names))
        return self._filters[name]

    def public(self) -> list[dict[str, Any]]:
        """As the page takes it; milliseconds a picture where it has been used, all sessions together."""
        return [
            {
                "name": name,
                "title": each.manifest.title,
                "region": each.manifest.region,
                "anonymous": each.manifest.region == "portrait",
                "p50_ms": round(self.meters[name].figures().p50_ms, 2) or None,
            }
            for name, each in self._filters.items()
        ]

    def close(self) -> None:
        """Close every filter; a session that still runs one is refused its next picture."""
        while self._filters:
            self._filters.popitem()[1].close()


def opened(name: str, open_filter: Callable[[str], Filter], clock: Clock) -> Filter:
    """Open a filter, check that it can be fed, and run it, so that its first picture is as quick as the others.

    Raises:
        EngineError: It is missing, damaged, or not made for this version.
    """
    made = open_filter(name)
    try:
        _check(made)
        begun_ns = clock.now_ns()
        frame, beside = made.inputs["frame"], made.start()
        shown = np.zeros([size or 1 for size in frame.shape], frame.dtype)
        for _ in range(_WARM_UP):
            _, beside = made.draw(shown, beside)
        log.info("filter %s: warm after %.0f ms", made, (clock.now_ns() - begun_ns) / 1e6)
    except EngineError:
        made.close()
        raise
    return made


def unknown(name: str, known: Sequence[str]) -> str:
    """Say that there is no filter of that name, and which is near."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no filter {name!r}: {advice}there is {', '.join(known) or 'none'}"


def _check(made: Filter) -> None:
    """Hold a filter against what sessions can do with it."""
    about = made.manifest
    for what, found, known in (("region", about.region, AREAS), ("source", about.source, SOURCES)):
        if found not in known:
            raise EngineError(
                f"the filter {about.name} has the {what} {found!r}, this version has {', '.join(known)}: take another"
            )
    classes = CLASSES.get(about.source, ())
    if about.classes != classes:
        raise EngineError(
            f"the filter {about.name} draws from {', '.join(about.classes) or 'no classes'} with the source "
            f"{about.source}, this version draws {', '.join(classes) or 'none'}: take another"
        )
    if classes and about.region == "frame":
        raise EngineError(
            f"the filter {about.name} draws from a layout for the frame, which is drawn of faces: take another"
        )
    if about.region == "portrait" and not classes:
        raise EngineError(f"the filter {about.name} would be shown the picture that it is to hide: take another")
