"""The one configuration file: TOML in, frozen dataclasses out.

A default lives in its class and nowhere else; the allowed range stands beside
it. Everything is checked once, when the file is read, and a key that does not
exist is refused with the nearest one that does.
"""

import dataclasses
import difflib
import os
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from stream.errors import ConfigError
from stream.media.codec_device import CodecsConfig
from stream.render import RenderOptions
from stream.speech.back_ends import BackEnds
from stream.speech.clauses import ClauseConfig
from stream.speech.lag import LagConfig
from stream.transport.config import PeerConfig

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Within:
    """Inclusive limits of a number, checked when the file is read."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the server listens and what it accepts.

    Attributes:
        host: Address to listen on; anything but loopback opens the machine to its network.
        port: 0 takes any free port.
        allowed_hosts: Names that may stand in a request's Host header beside `host`;
            loopback names are always allowed, others are refused so that a foreign web
            page cannot reach a local server through its own domain name.
        capacity: Most sessions at once; 0 means one per core.
        retry_after_s: What a refused client is told to wait.
        max_upload_bytes: Largest voice file.
        max_offer_bytes: Largest SDP offer.
        max_voices: Uploaded voices kept; the oldest goes first.
        max_voice_s: Longest voice.
        engine_busy_max: One more session is refused when the engine would need more than this share of its time,
            by what the sessions that run cost on average.
        slack_min_ms: One more session is refused when 5 of 100 pictures are done less than this before their deadline.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Within(0, 65535)] = 8080
    allowed_hosts: tuple[str, ...] = ()
    capacity: Annotated[int, Within(0, 1000)] = 0
    retry_after_s: Annotated[int, Within(1, 3600)] = 10
    max_upload_bytes: Annotated[int, Within(1024, 1 << 30)] = 20 * 1024 * 1024
    max_offer_bytes: Annotated[int, Within(1024, 1 << 24)] = 256 * 1024
    max_voices: Annotated[int, Within(1, 1000)] = 16
    max_voice_s: Annotated[float, Within(1, 3600)] = 120.0
    engine_busy_max: Annotated[float, Within(0.1, 1.0)] = 0.85
    slack_min_ms: Annotated[float, Within(0, 1000)] = 10.0

    @property
    def sessions_at_most(self) -> int:
        """The capacity, with 0 resolved to the number of cores."""
        return self.capacity or os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How one session keeps time.

    Attributes:
        pass_through_delay_ms: Delay of both tracks when nothing is changed.
        re_voice_delay_ms: Delay of both tracks while the lips are re-made; long
            enough for network jitter and the slowest frame.
        dub_delay_ms: The same while a live dub is made: longer, as a recogniser works beside the lips.
        filter_delay_ms: The same while pictures are filtered and otherwise pass through.
        late_tolerance_ms: A picture ready this long after its deadline counts as late.
        catch_up_ms_per_s: How fast a longer delay shrinks to a shorter one after a
            switch; slow enough that no picture is dropped and no sound is cut.
        voice_pause_ms: Silence between two rounds of the voice.
    """

    pass_through_delay_ms: Annotated[float, Within(0, 2000)] = 0.0
    re_voice_delay_ms: Annotated[float, Within(0, 2000)] = 80.0
    dub_delay_ms: Annotated[float, Within(40, 2000)] = 120.0
    filter_delay_ms: Annotated[float, Within(0, 2000)] = 60.0
    late_tolerance_ms: Annotated[float, Within(0, 1000)] = 5.0
    catch_up_ms_per_s: Annotated[float, Within(1, 500)] = 40.0
    voice_pause_ms: Annotated[float, Within(400, 60_000)] = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Which generator makes the lips, and on what; see `visavis engines list`.

    Attributes:
        name: The network.
        folder: Where networks lie, one folder each; "" takes those that came with the product.
        backend: "auto" takes the first that is installed.
        precision: "auto" takes the fastest that passed its gate and that this processor can run.
        threads: Per picture; 0 takes what helps.
        gather_ms: How long a picture waits for those of other sessions at most, where the engine is quicker together.
        card_pictures_mb: What the pictures that are kept of faces may take of a card's memory.
    """

    name: str = "lipgan_lite"
    folder: str = ""
    backend: str = "auto"
    precision: str = "auto"
    threads: Annotated[int, Within(0, 256)] = 0
    gather_ms: Annotated[float, Within(0, 50)] = 3.0
    card_pictures_mb: Annotated[int, Within(16, 65536)] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesConfig:
    """Who finds the faces, and how many of them are re-voiced."""

    backend: Literal["openvino", "mediapipe"] = "openvino"
    max_faces: Annotated[int, Within(1, 8)] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FiltersConfig:
    """Which filters sessions may choose, and how they are laid on where a session does not say.

    Attributes:
        offered: Their names; without any, all that are here.
        off: No filter is opened.
        folder: Where filters lie, one folder each; "" takes those that came with the product.
        precision: See `EngineConfig`, like `threads`.
        threads: Per picture; 0 takes what helps.
        order: "before" or "after" the lips are made.
        badge: Text of the visible mark; empty for none.
        when_covered: Name of a filter that hides who is there, and draws pictures in which lips are to be made while
            something stands before a mouth; "" for none.
    """

    offered: tuple[str, ...] = ()
    off: bool = False
    folder: str = ""
    precision: str = "auto"
    threads: Annotated[int, Within(0, 256)] = 0
    order: Literal["before", "after"] = "after"
    badge: str = "AI filter"
    when_covered: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DubbingConfig:
    """How live dubs are held to their lag, and what is translated by word.

    Attributes:
        target_lag_ms: From the beginning of a clause to that of its dub.
        lag_max_ms: A clause that would be later is a caption only.
        max_words: A clause closes at the latest with so many words: fewer come sooner and translate worse.
        glossary: TOML file with terms, see `docs/dub.md`; "" for none.
        recogniser: See `BackEnds`, like the next two.
        translator: "apertium", or a folder.
        speaker: A name, or a folder.
    """

    target_lag_ms: Annotated[int, Within(500, 4500)] = LagConfig().target_ms
    lag_max_ms: Annotated[int, Within(2000, 30_000)] = LagConfig().max_ms
    max_words: Annotated[int, Within(2, 30)] = ClauseConfig().max_words
    glossary: str = ""
    recogniser: str = "auto"
    translator: str = "apertium"
    speaker: str = "espeak"

    def back_ends(self, models: Path) -> BackEnds:
        """What chains are made of, `models` being where `visavis models` keeps them."""
        return BackEnds(models=models, recogniser=self.recogniser, translator=self.translator, speaker=self.speaker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything an operator can set, one table of the file per field."""

    server: ServerConfig = field(default_factory=ServerConfig)
    session: SessionConfig = field(default_factory=SessionConfig)
    peer: PeerConfig = field(default_factory=PeerConfig)
    codecs: CodecsConfig = field(default_factory=CodecsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    render: RenderOptions = field(default_factory=RenderOptions)
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    dubbing: DubbingConfig = field(default_factory=DubbingConfig)


def load_config(path: Path | None) -> Config:
    """Read a configuration file; without one, every default.

    Raises:
        ConfigError: The file is missing, is not TOML, or holds a key or a value that does not fit.
    """
    if path is None:
        return Config()
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Give --config the name of a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8. Save it as UTF-8") from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """Turn TOML into a `Config`; `source` is named in every complaint.

    Raises:
        ConfigError: See `load_config`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    return read_table(Config, table, source, "")


def read_table(kind: type[C], table: dict[str, Any], source: str, name: str) -> C:
    """Build the dataclass `kind` from one TOML table called `name` ("" is the file itself).

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or lies outside its range.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    known = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"{source}: {_place(name, key)} does not exist.{_nearest(key, known)}")
    values = {key: _read_value(hints[key], value, source, _place(name, key)) for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{source}: [{name}] {error}") from error


def _place(table: str, key: str) -> str:
    return f"[{table}] {key}" if table else f"[{key}]"


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else f" Known here: {', '.join(known)}"


def _read_value(hint: Any, value: Any, source: str, place: str) -> Any:  # noqa: ANN401 - TOML values are of any type
    """Check one value against its annotation and convert it (int to float, array to tuple)."""
    limits: Within | None = None
    if typing.get_origin(hint) is Annotated:
        hint, limits = typing.get_args(hint)[:2]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{source}: {place} is {value!r}, it must be a table")
        return read_table(hint, value, source, place.strip("[]"))
    fitted = _fit(hint, value)
    if fitted is None:
        raise ConfigError(f"{source}: {place} is {value!r}, it must be {_describe(hint)}")
    if limits is not None and not limits.low <= fitted <= limits.high:
        raise ConfigError(f"{source}: {place} is {value!r}, it must be from {limits.low:g} to {limits.high:g}")
    return fitted


def _fit(hint: Any, value: Any) -> Any:  # noqa: ANN401 - see _read_value
    """`value` as `hint` wants it, None where it does not fit; TOML has no null."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return (
            value if any(value == option and type(value) is type(option) for option in typing.get_args(hint)) else None
        )
    if origin in (typing.Union, types.UnionType):
        fits = (_fit(option, value) for option in typing.get_args(hint) if option is not type(None))
        return next((fitted for fitted in fits if fitted is not None), None)
    if origin is tuple:
        items = [_fit(typing.get_args(hint)[0], item) for item in value] if isinstance(value, list) else [None]
        return None if None in items else tuple(items)
    if hint is float and type(value) is int:
        return float(value)
    return value if type(value) is hint else None


def _describe(hint: Any) -> str:  # noqa: ANN401 - see _read_value
    origin = typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(f'"{option}"' for option in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint) if option is not type(None))
    if origin is tuple:
        return f"a list, each item {_describe(typing.get_args(hint)[0])}"
    return {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}.get(
        hint, str(hint)
    )
