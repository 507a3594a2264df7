"""`visavis engines import`: a published checkpoint becomes an engine that `run` and `dub` take by its name.

Reading the checkpoint needs torch, which serving does without: it is loaded here, when this command runs.
"""

import argparse
import importlib.util
from pathlib import Path

from kernels.mel import MelWindow
from models import catalogue
from models.manifest import EngineManifest, Licence
from models.published import FORMATS, Format
from stream.bundled import bundled_samples
from stream.errors import ConfigError

_PACKAGES = {"torch": "train", "safetensors": "train"}
_KERAS_PACKAGES = {**_PACKAGES, "h5py": "import"}


def run(arguments: argparse.Namespace, imported_folder: Path) -> int:
    """Import; 0 when the engine is there.

    Raises:
        ConfigError, EngineError: What the user must change; nothing was written.
    """
    if arguments.format not in FORMATS:
        raise ConfigError(f"--as is {arguments.format!r}, expected {', '.join(FORMATS)}")
    if arguments.identity not in catalogue.IDENTITIES:
        raise ConfigError(f"--identity is {arguments.identity!r}, expected {', '.join(catalogue.IDENTITIES)}")
    chosen = FORMATS[arguments.format]
    licence = _agreed_licence(arguments, chosen)
    _check_packages(_PACKAGES if arguments.format == "wav2lip" else _KERAS_PACKAGES)
    from models.importer import ImportJob, check_job, import_checkpoint

    job = ImportJob(
        source=arguments.checkpoint,
        format=arguments.format,
        folder=arguments.into or imported_folder,
        name=arguments.name or _free_name(arguments.format),
        window=_window(arguments, chosen),
        identity=arguments.identity,
        precisions=tuple(arguments.precisions.split(",")),
        licence=licence,
    )
    _check_name(job.name)
    check_job(job)
    calibration, gate = bundled_samples(job.window)
    manifest, conversion = import_checkpoint(job, calibration=calibration, gate=gate)
    print(
        f"{job.folder / job.name}: {chosen.title}; in our channel order it draws what it draws in its own "
        f"({conversion.psnr_db:.0f} dB, {conversion.max_abs:g} at most)"
    )
    _tell(manifest, chosen)
    into = "" if arguments.into is None else f", with folder = {str(job.folder)!r} under [engine] in --config"
    print(f"Use it: visavis dub --engine {job.name}, visavis run --engine {job.name}{into}")
    return 0


def _agreed_licence(arguments: argparse.Namespace, chosen: Format) -> Licence:
    if arguments.licence:
        return Licence(arguments.licence, ("as told at import",))
    if not arguments.accept_licence:
        raise ConfigError(
            f"{chosen.terms}; trained on {chosen.material}. If you keep these terms, give --accept-licence; "
            'if the weights are your own, give --licence "THEIR TERMS"'
        )
    return Licence(chosen.terms, (chosen.material,))


def _check_packages(needed: dict[str, str]) -> None:
    for package, extra in needed.items():
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"importing needs {package}, which serving does without. Install it: pip install 'visavis[{extra}]'"
            )


def _free_name(format_: str) -> str:
    """What an engine is called if nobody says; one that came with the product may have the format's own name."""
    return f"published-{format_}" if format_ in catalogue.names() else format_


def _check_name(name: str) -> None:
    if name in catalogue.names():
        raise ConfigError(f"{name} is a network that came with visavis: give another --name")


def _window(arguments: argparse.Namespace, chosen: Format) -> MelWindow:
    if arguments.look_ahead is None:
        return chosen.window
    try:
        return MelWindow(chosen.window.columns, arguments.look_ahead)
    except ValueError as error:
        raise ConfigError(f"--look-ahead: {error}") from None


def _tell(manifest: EngineManifest, chosen: Format) -> None:
    """What was checked, and what is not as it was in training."""
    for precision, files in manifest.engines.items():
        parity = files.parity
        print(f"  {precision}: {parity.psnr_db:.1f} dB of the published network on {parity.samples} faces")
    mel = manifest.mel
    print(f"  sound: {mel.columns} columns of 12.5 ms, {mel.look_ahead} of them after the picture")
    print(f"  crop: trained on {chosen.trained_crop}; serving shows its own, upright by the skull (docs/import.md)")
    print(f"  terms: {manifest.licence.weights}")
