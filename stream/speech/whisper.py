"""Whisper as a recogniser of many languages, and as a translator of them into English.

Source: A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from stream.errors import ConfigError
from stream.speech.host import Program
from stream.speech.model_list import MODELS
from stream.speech.store import Model, find, verified

NAMES = tuple(name for name in MODELS if name.startswith("whisper-"))
"""Its models in the catalogue."""
_NEEDED = (("model.bin",), ("config.json",), ("vocabulary.txt", "vocabulary.json"))


def whisper(
    model_folder: Path,
    *,
    language: str | None,
    translate: bool = False,
    step_s: float | None = None,
    threads: int = 1,
) -> Program:
    """A program to run with `ProcessRecogniser`.

    Args:
        model_folder: What `whisper_folder` gives.
        language: BCP 47 tag of the speech; detected when None.
        translate: Give English words whatever is spoken: `Caps.languages` are those that it hears, `Caps.into` is "en"
            and so is the language of every recognition.
        step_s: New sound from one decoding to the next; by the size of the model when None.
        threads: How many the network may use.
    """
    arguments = [str(model_folder), "--threads", str(threads)]
    arguments += ["--language", language] if language else []
    arguments += ["--translate"] if translate else []
    arguments += ["--step", str(step_s)] if step_s is not None else []
    # CTranslate2 keeps to its threads, but not all that it is built on does.
    limits = [f"{library}_NUM_THREADS={threads}" for library in ("OMP", "OPENBLAS")]
    return Program(
        name=model_folder.name,
        command=("env", *limits, sys.executable, "-m", "stream.speech.whisper_worker", *arguments),
        remedy="Install it: pip install 'visavis[languages]', and a model: visavis models get whisper-base",
        start_ms=30_000,
        answer_ms=10_000,
    )


def whisper_folder(model: str, folder: Path, models: Mapping[str, Model] = MODELS) -> Path:
    """Where the files of a model lie.

    Args:
        model: Its name in the catalogue, whose files must be those that are pinned; or a folder with a model that
            CTranslate2 has written, which is taken as it is.
        folder: `models_folder`.
        models: The catalogue.

    Raises:
        ConfigError: It is not known, not there or not what it should be; a file of a folder is missing.
    """
    if model in models:
        return verified(model, folder, models)
    own = Path(model)
    if not own.is_dir():
        find(model, models)
    for names in _NEEDED:
        if not any((own / name).is_file() for name in names):
            raise ConfigError(
                f"{own} has no {' or '.join(names)}: expected a Whisper model as CTranslate2 writes it. "
                "Convert one with ct2-transformers-converter, or take a known one: visavis models get whisper-base"
            )
    return own
