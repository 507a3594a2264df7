"""Which filters there are, and the one door through which they are opened.

A folder under `models/filters` holds a filter's manifest, graphs, weights, card and preview. What serving needs is the
manifest and the graphs; neither torch nor a pickle is involved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.catalogue import default_threads, open_graph
from models.engine import Array, Engine, EngineError, TensorSpec
from models.filter_manifest import (
    FRAME,
    NOISE,
    FilterManifest,
    check_name,
    load_filter_manifest,
    pinned_noise,
)
from models.filter_memory import FilterMemory
from models.manifest import FILE_NAME

FILTERS = Path(__file__).parent / "filters"

PICKLES = (".pth", ".pt", ".pkl", ".ckpt", ".bin.pth")
"""Suffixes of files that can run code when they are opened."""


@dataclass(frozen=True, slots=True)
class LoadedFilter:
    """A filter's engine with the manifest that it was loaded by. Is an `Engine` itself.

    Attributes:
        memory: What goes in and out beside frames.
        threads: Threads that work on one picture.
        blob_folder: Where its compiled form was looked for and kept; None for nowhere.
        from_cache: Whether a compiled form was found there.
    """

    engine: Engine
    manifest: FilterManifest
    memory: FilterMemory
    threads: int
    blob_folder: Path | None = None
    from_cache: bool = False

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the pictures it takes and gives."""
        height, width = self.manifest.size_px
        return height, width

    @property
    def backend(self) -> str:
        """See `Engine`."""
        return self.engine.backend

    @property
    def precision(self) -> str:
        """See `Engine`."""
        return self.engine.precision

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """See `Engine`."""
        return self.engine.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """See `Engine`."""
        return self.engine.outputs

    def start(self) -> dict[str, Array]:
        """What goes in beside the first frame of a stream: an empty memory, and the noise that stays the stream's.

        Without either, nothing. The same for every stream: what is drawn depends on its frames alone.
        """
        noise = self.inputs.get(NOISE)
        if noise is None:
            return self.memory.empty()
        return {**self.memory.empty(), NOISE: pinned_noise(self.manifest.seed, noise.shape[1] or 1)}

    @property
    def follows(self) -> bool:
        """See `FilterMemory`."""
        return self.memory.follows

    def draw(
        self, frame: Array, beside: Mapping[str, Array], *, hurried: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Draw one frame.

        Args:
            frame: What the manifest's `source` says, float32 [1, C, H, W], or bytes.
            beside: What `start` gave for the first frame, and what this gave for the last one after that.
            hurried: See `FilterMemory.feed`.

        Returns:
            The picture, float32 [1, 3, H, W] in [-1, 1] or folded planes, and what goes in beside the next frame.

        Raises:
            EngineError: The frame does not fit, or the engine is closed.
        """
        drawn = self.infer({FRAME: frame, **beside, **self.memory.feed(frame, beside, hurried=hurried)})
        return drawn[FRAME], {**beside, **self.memory.kept(frame, drawn)}

    def infer(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        """See `Engine`."""
        return self.engine.infer(feed)

    def close(self) -> None:
        """See `Engine`."""
        self.engine.close()

    def __str__(self) -> str:
        return f"{self.manifest.name} on {self.backend}, {self.precision}, {self.threads} threads"


def filter_names(folders: Sequence[Path] = (FILTERS,)) -> list[str]:
    """The filters that are there; a hidden folder is one that is being written, or was when power failed."""
    found = {path.parent.name for folder in folders for path in folder.glob(f"*/{FILE_NAME}")}
    return sorted(name for name in found if not name.startswith("."))


def filter_titles(folders: Sequence[Path] = (FILTERS,)) -> dict[str, str]:
    """One line for each filter that is there, by name; of one that cannot be read, why."""
    found = {}
    for name in filter_names(folders):
        try:
            found[name] = load_filter_manifest(_folder_of(name, folders), _remedy(name)).title
        except EngineError as error:
            found[name] = f"cannot be used: {error}"
    return found


def load_filter(
    name: str,
    precision: str | None = None,
    threads: int | None = None,
    *,
    folders: Sequence[Path] = (FILTERS,),
    cache_folder: Path | None = None,
) -> LoadedFilter:
    """Open a filter.

    Args:
        name: Of its folder.
        precision: "fp32", "bf16" or "int8"; None or "auto" is the manifest's default, or the next that this
            processor can run.
        threads: Threads per picture; None is `default_threads()`.
        folders: Where filters' folders lie; the first that has the name wins.
        cache_folder: Where compiled networks are kept between starts; None keeps none.

    Returns:
        The engine, its manifest beside it.

    Raises:
        EngineError: The name or precision is not there, a file is missing or damaged, or the manifest does not fit
            this version. The message ends with the remedy.
    """
    if threads is not None and threads < 1:
        raise EngineError(f"threads is {threads}, expected at least 1, or none for the default")
    folder = _folder_of(name, folders)
    manifest = load_filter_manifest(folder, _remedy(name))
    wanted, threads = None if precision == "auto" else precision, threads or default_threads()
    engine, blob_folder = open_graph(folder, manifest, wanted, threads, cache_folder, _remedy(name))
    loaded = LoadedFilter(engine, manifest, FilterMemory(engine.inputs), threads, blob_folder, engine.from_cache)
    _check_draws(loaded, folder)
    return loaded


def _check_draws(loaded: LoadedFilter, folder: Path) -> None:
    """Draw one grey frame: graphs that do not fit their manifest are found now, and the first live frame is not slower.

    Raises:
        EngineError: It cannot be drawn.
    """
    spec = loaded.inputs[FRAME]
    frame = np.zeros([1, *(size or 1 for size in spec.shape[1:])], spec.dtype)
    try:
        loaded.draw(frame, loaded.start())
    except RuntimeError as error:
        loaded.close()
        last_line = str(error).strip().splitlines()[-1]
        remedy = _remedy(loaded.manifest.name)
        raise EngineError(f"{folder} does not draw what its manifest says ({last_line}). {remedy}") from None


def user_filters_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's own filters lie, by the XDG base directory specification.

    Args:
        environment: `os.environ`, read once by the command line.
    """
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "visavis" / "filters"


def _folder_of(name: str, folders: Sequence[Path]) -> Path:
    if name.lower().endswith(PICKLES):
        raise EngineError(
            f"{name} is a checkpoint, which could run code when it is opened; a filter is a folder with a manifest. "
            "Make one of it: python -m models.filter_importer"
        )
    check_name(name)
    found = next((folder / name for folder in folders if (folder / name).is_dir()), None)
    if found is None:
        raise EngineError(
            f"no filter {name!r}, there is: {', '.join(filter_names(folders)) or 'none'}. Take one of these"
        )
    return found


def _remedy(name: str) -> str:
    return f"Fetch it again (git checkout -- models/filters/{name}), or export it again"
