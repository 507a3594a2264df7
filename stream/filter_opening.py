"""Which filters are here, and how they are opened: as the configuration says, by the catalogue of `models`."""

from collections.abc import Callable
from pathlib import Path

from models.engine import EngineError
from models.filter_catalogue import FILTERS, LoadedFilter, filter_names, filter_titles, load_filter
from stream.clock import Clock, MonotonicClock
from stream.config import FiltersConfig
from stream.errors import ConfigError
from stream.filters import Filter, FilterShelf, opened, unknown


def folders(wanted: FiltersConfig, own: Path | None) -> tuple[Path, ...]:
    """Where filters are looked for: the configured folder, or those that came with the product and the user's own."""
    if wanted.folder:
        return (Path(wanted.folder),)
    return (FILTERS,) if own is None else (FILTERS, own)


def titles(wanted: FiltersConfig, own: Path | None) -> dict[str, str]:
    """One line for each filter that is here, by name; of one that cannot be read, why."""
    return filter_titles(folders(wanted, own))


def open_named(name: str, wanted: FiltersConfig, own: Path | None, cache_folder: Path | None) -> Filter:
    """Open one filter, ready for its first picture.

    Raises:
        ConfigError: There is none of that name; the message names the nearest.
        EngineError: It is damaged, or not made for this version; the message ends with the remedy.
    """
    known = filter_names(folders(wanted, own))
    if name not in known:
        raise ConfigError(f"{unknown(name, known)}. See: visavis filter --list")
    return opened(name, _opener(wanted, own, cache_folder), MonotonicClock())


def shelf_opener(wanted: FiltersConfig, own: Path | None, cache_folder: Path | None) -> Callable[[Clock], FilterShelf]:
    """How a server opens its filters: those that its configuration names, or all that are here.

    One that was named and cannot be opened is an error (`EngineError`), and so is one for covered mouths that is not
    offered or not fit for it (`ConfigError`); of all others the rest is offered.
    """

    def open_shelf(clock: Clock) -> FilterShelf:
        if wanted.off:
            return FilterShelf((), open_filter, clock, when_covered=wanted.when_covered)
        known = filter_names(folders(wanted, own))
        if missing := [name for name in wanted.offered if name not in known]:
            raise EngineError(f"[filters] offered: {unknown(missing[0], known)}. See: visavis filter --list")
        return FilterShelf(
            wanted.offered or known,
            open_filter,
            clock,
            required=bool(wanted.offered),
            when_covered=wanted.when_covered,
        )

    open_filter = _opener(wanted, own, cache_folder)
    return open_shelf


def _opener(wanted: FiltersConfig, own: Path | None, cache_folder: Path | None) -> Callable[[str], LoadedFilter]:
    def open_filter(name: str) -> LoadedFilter:
        places = folders(wanted, own)
        return load_filter(name, wanted.precision, wanted.threads or None, folders=places, cache_folder=cache_folder)

    return open_filter
