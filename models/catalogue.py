"""Which engines there are, and the one door through which they are opened.

A folder under `models/weights` holds a network's checkpoint, its engines and the manifest that ties them
together. Whatever was asked for is what runs; "auto" is resolved here and can be read from the engine.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from kernels import mel
from models.engine import Engine, EngineError, TensorSpec
from models.manifest import (
    FILE_NAME,
    CropInput,
    EngineFiles,
    EngineManifest,
    MelInput,
    check_file,
    describe_difference,
    load_manifest,
)
from models.openvino_engine import CAPABILITY, OpenVinoEngine, supports, usable_threads

WEIGHTS = Path(__file__).parent / "weights"

BACKENDS: Mapping[str, str] = {
    "openvino": 'pip install "openvino>=2026.4"',
    "torch": "pip install 'visavis[train]'",
}
"""Back ends, the one that "auto" takes first, and the command that installs each."""

FASTEST_FIRST = ("int8", "bf16", "fp32")

IDENTITIES = ("same_frame", "reference", "open_mouth")
"""Which picture may give the identity channels; serving can do any."""

MAX_THREADS = 4
"""More threads on a picture of 96 pixels wait for each other longer than they work."""


def default_threads() -> int:
    """Half of the cores, 1 to 4: the other half decodes, finds faces and encodes.

    Two threads on two cores save 1 ms of 2.7 on an idle machine (basic mel, width 0.5, int8), cost a quarter more
    processor time, and wait for each other as soon as something else wants a core.
    """
    return min(max(usable_threads() // 2, 1), MAX_THREADS)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine with the manifest that it was loaded by. Is an `Engine` itself.

    Attributes:
        threads: Threads that work on one picture.
        blob_folder: Where its compiled form was looked for and kept; None for nowhere.
        from_cache: Whether a compiled form was found there.
    """

    engine: Engine
    manifest: EngineManifest
    threads: int
    blob_folder: Path | None = None
    from_cache: bool = False

    @property
    def mel_window(self) -> mel.MelWindow:
        """The mel columns that one picture was trained to see."""
        return mel.MelWindow(self.manifest.mel.columns, self.manifest.mel.look_ahead)

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

    def infer(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        """See `Engine`."""
        return self.engine.infer(feed)

    def close(self) -> None:
        """See `Engine`."""
        self.engine.close()

    def __str__(self) -> str:
        return f"{self.manifest.name} on {self.backend}, {self.precision}, {self.threads} threads"


def load_engine(
    name: str = "lipgan",
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    *,
    weights_folder: Path = WEIGHTS,
    cache_folder: Path | None = None,
) -> LoadedEngine:
    """Open a network.

    Args:
        name: A folder of `weights_folder`.
        backend: "auto", "openvino" or "torch".
        precision: "fp32", "bf16" or "int8"; None or "auto" is the manifest's default, or the next that this
            processor can run.
        threads: Threads per picture; None is `default_threads()`.
        weights_folder: Where the networks' folders lie.
        cache_folder: Where compiled networks are kept between starts (`default_cache_folder`); None keeps none.

    Returns:
        The engine, its manifest beside it.

    Raises:
        EngineError: The name, back end or precision is not there, a file is missing or damaged, or the manifest
            does not fit the code. The message ends with the remedy.
    """
    folder = weights_folder / name
    chosen = _choose_backend(backend)
    if not folder.is_dir():
        raise EngineError(
            f"no network {name!r} in {weights_folder}, there is: {', '.join(names(weights_folder)) or 'none'}. "
            f"{_remedy(name)}"
        )
    manifest = load_manifest(folder, _remedy(name))
    check_serving(folder, manifest)
    if threads is not None and threads < 1:
        raise EngineError(f"threads is {threads}, expected at least 1, or none for the default")
    threads = threads or default_threads()
    wanted = None if precision == "auto" else precision
    opener = {"openvino": _open_openvino, "torch": _open_torch}[chosen]
    return opener(folder, manifest, wanted, threads, cache_folder)


def names(weights_folder: Path = WEIGHTS) -> list[str]:
    """The networks that can be opened; a hidden folder is one that is being written, or was when power failed."""
    found = (path.parent.name for path in weights_folder.glob(f"*/{FILE_NAME}"))
    return sorted(name for name in found if not name.startswith("."))


def default_cache_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's compiled networks go, by the XDG base directory specification.

    Args:
        environment: `os.environ`, read once by the command line.
    """
    base = environment.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "visavis" / "engines"


def imported_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's imported networks lie, by the XDG base directory specification.

    Args:
        environment: `os.environ`, read once by the command line.
    """
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "visavis" / "engines"


def serving_mel(window: mel.MelWindow = mel.LIPGAN_WINDOW) -> MelInput:
    """The sound input that serving makes."""
    return MelInput(
        sample_rate_hz=mel.SAMPLE_RATE_HZ,
        n_fft=mel.N_FFT,
        hop=mel.HOP,
        bands=mel.BANDS,
        columns=window.columns,
        look_ahead=window.look_ahead,
        lowest=mel.SILENCE,
        highest=mel.MAX_ABS,
    )


def serving_crop(size_px: int = 96, identity: str = IDENTITIES[0], *, masked: bool = True) -> CropInput:
    """The picture input that serving makes; see `kernels.crop.generator_input` and `kernels.mouth.close_mouth`."""
    if masked:
        return CropInput(size_px, mask_row=size_px // 2, channels="identity rgb, target rgb", identity=identity)
    channels = "identity rgb, target rgb with its mouth shut"
    return CropInput(size_px, mask_row=size_px, channels=channels, identity=identity)


def mel_window(engine: Engine) -> mel.MelWindow:
    """The mel columns that one picture sees: the manifest's, or LipGAN's for an engine that came without one."""
    return engine.mel_window if isinstance(engine, LoadedEngine) else mel.LIPGAN_WINDOW


def terms_of(engine: Engine) -> str | None:
    """What whoever runs an imported engine must know; None for one that came with the product."""
    if not isinstance(engine, LoadedEngine) or "imported" not in engine.manifest.network:
        return None
    return f"the engine {engine.manifest.name} was imported; its weights: {engine.manifest.licence.weights}"


def check_serving(folder: Path, manifest: EngineManifest) -> None:
    """Hold a manifest against what this version can feed its networks: any crop size, any mel window.

    Raises:
        EngineError: They differ: the network would be shown something it was not trained on.
    """
    size, identity = manifest.crop.size_px, manifest.crop.identity
    known = identity if identity in IDENTITIES else IDENTITIES[0]
    expected_crop = serving_crop(size, known, masked=manifest.crop.mask_row != size)
    expected_mel = serving_mel(_trained_window(folder, manifest))
    for part, found, expected in (("mel", manifest.mel, expected_mel), ("crop", manifest.crop, expected_crop)):
        if difference := describe_difference(asdict(found), asdict(expected)):
            raise EngineError(f"{folder / FILE_NAME}: {part}.{difference}. {_remedy(manifest.name)}")
    _check_shapes(folder, manifest)
    _check_precisions(folder, manifest)


def _trained_window(folder: Path, manifest: EngineManifest) -> mel.MelWindow:
    try:
        return mel.MelWindow(manifest.mel.columns, manifest.mel.look_ahead)
    except ValueError as error:
        raise EngineError(f"{folder / FILE_NAME}: mel.{error}. {_remedy(manifest.name)}") from None


def _check_shapes(folder: Path, manifest: EngineManifest) -> None:
    size = manifest.crop.size_px
    expected = {
        "face": (None, 6, size, size),
        "mel": (None, 1, manifest.mel.bands, manifest.mel.columns),
        "picture": (None, 3, size, size),
    }
    found = {spec.name: spec.shape for spec in (*manifest.inputs, *manifest.outputs) if spec.name in expected}
    if difference := describe_difference(found, {name: expected[name] for name in found}):
        raise EngineError(
            f"{folder / FILE_NAME}: by its fields crop and mel, the shape of {difference}. {_remedy(manifest.name)}"
        )


def _check_precisions(folder: Path, manifest: EngineManifest) -> None:
    fields = {"default_precision": (manifest.default_precision, sorted(manifest.engines))}
    for precision, files in manifest.engines.items():
        fields[f"engines.{precision}.inference_precision"] = (files.inference_precision, sorted(CAPABILITY))
    for field, (found, known) in fields.items():
        if found not in known:
            raise EngineError(
                f"{folder / FILE_NAME}: {field} is {found!r}, expected one of {', '.join(known)}. "
                f"{_remedy(manifest.name)}"
            )


def _choose_backend(backend: str) -> str:
    if backend == "auto":
        return next(iter(BACKENDS))
    if backend not in BACKENDS:
        raise EngineError(
            f"back end {backend!r} is not in this version of visavis, which has {', '.join(BACKENDS)}. "
            "Take one of these, or see what runs here: visavis engines list"
        )
    if importlib.util.find_spec(backend) is None:
        raise EngineError(f"back end {backend!r} is not installed. Install it: {BACKENDS[backend]}")
    return backend


def _open_openvino(
    folder: Path, manifest: EngineManifest, precision: str | None, threads: int, cache_folder: Path | None
) -> LoadedEngine:
    remedy = _remedy(manifest.name)
    engine, blob_folder = open_graph(folder, manifest, precision, threads, cache_folder, remedy)
    return LoadedEngine(engine, manifest, threads, blob_folder, engine.from_cache)


class Served(Protocol):
    """What a manifest must say so that its graphs can be opened."""

    @property
    def name(self) -> str:
        """Of the network."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""

    @property
    def default_precision(self) -> str:
        """The fastest that passed the gate."""

    @property
    def engines(self) -> dict[str, EngineFiles]:
        """Files by precision."""


def open_graph(
    folder: Path, manifest: Served, precision: str | None, threads: int, cache_folder: Path | None, remedy: str
) -> tuple[OpenVinoEngine, Path | None]:
    """Open one precision of a network, its files held against the manifest.

    Args:
        folder: Of the network.
        manifest: What lies in it.
        precision: None takes the manifest's default, or the next that this processor can run.
        threads: Per picture.
        cache_folder: Where compiled networks are kept; None keeps none.
        remedy: Ends the message about a broken file.

    Returns:
        The engine, and where its compiled form is kept.

    Raises:
        EngineError: No such precision, a file is missing or damaged, or the processor cannot run it.
    """
    chosen = precision or _default_precision(manifest)
    if chosen not in manifest.engines:
        raise EngineError(
            f"{manifest.name} has no precision {chosen!r}, there is {', '.join(manifest.engines)}. "
            "Take one of these, or see what runs here: visavis engines list"
        )
    files = manifest.engines[chosen]
    for file in (files.xml, files.bin):
        check_file(folder / file, files.sha256.get(file, ""), remedy)
    if not supports(files.inference_precision):
        raise EngineError(
            f"this processor has no {files.inference_precision} arithmetic, which {manifest.name} in {chosen} needs. "
            'Take another precision, for example precision = "fp32"'
        )
    blob_folder = _blob_folder(cache_folder, manifest.name, chosen, files)
    engine = OpenVinoEngine(
        folder / files.xml,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        precision=chosen,
        inference_precision=files.inference_precision,
        threads=threads,
        cache_folder=blob_folder,
    )
    return engine, blob_folder


def _default_precision(manifest: Served) -> str:
    order = [manifest.default_precision, *(each for each in FASTEST_FIRST if each in manifest.engines)]
    return next((each for each in order if supports(manifest.engines[each].inference_precision)), order[0])


def _blob_folder(cache_folder: Path | None, name: str, precision: str, files: EngineFiles) -> Path | None:
    """One folder per content: a blob of other weights is never even looked at."""
    return None if cache_folder is None else cache_folder / f"{name}-{precision}-{files.sha256[files.bin][:16]}"


def _open_torch(
    folder: Path, manifest: EngineManifest, precision: str | None, threads: int, _cache_folder: Path | None
) -> LoadedEngine:
    from models.torch_engine import TorchEngine

    check_file(folder / manifest.checkpoint.file, manifest.checkpoint.sha256, _remedy(manifest.name))
    engine = TorchEngine(folder / manifest.checkpoint.file, precision=precision or "fp32", threads=threads)
    return LoadedEngine(engine, manifest, threads)


def _remedy(name: str) -> str:
    return (
        f"Fetch it again (git checkout -- models/weights/{name}) or make it: python -m training export --name {name}, "
        "or visavis engines import"
    )
