"""The program that translates with Firefox's translation models; only ever run as a process of its own.

Every pair of its folder is loaded, and asked for a word, before it is ready: a damaged file is refused at the start.
Between two languages that are no pair it goes through English.
"""

import gzip
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

PIVOT = "en"
_ENDINGS = ("", ".gz", ".zst")
_MODEL = re.compile(r"model\.([\w-]+)\.intgemm[\w.]*?\.bin(\.gz|\.zst)?")

Pair = tuple[str, str]


class Engine(Protocol):
    """What of `fxtranslate.Translator` is used, on the thread that made it."""

    def translate(self, text: str) -> str:
        """One sentence."""
        ...

    def translate_long(self, text: str) -> str:
        """Sentence by sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """What a pair needs.

    Attributes:
        vocabularies: Of the source and of the target, mostly the same file.
        shortlist: Which words may stand for which; some pairs come without.
    """

    model: Path
    vocabularies: tuple[Path, Path]
    shortlist: Path | None


def languages(pair: str) -> Pair:
    """The two languages of a pair's name: one of them is English, or both have two letters."""
    at = len(pair) - 2 if pair.endswith(PIVOT) and not pair.startswith(PIVOT) else 2
    return pair[:at].replace("_", "-"), pair[at:].replace("_", "-")


def installed(folder: Path) -> dict[Pair, Files]:
    """The files of every pair.

    Raises:
        FileNotFoundError: A pair lacks its vocabulary.
    """
    pairs: dict[Pair, Files] = {}
    for model in sorted(folder.glob("*/model.*")):
        if match := _MODEL.fullmatch(model.name):
            pairs[languages(match[1])] = _files(model, match[1])
    return pairs


def _files(model: Path, pair: str) -> Files:
    folder = model.parent
    source = _one_of(folder, f"vocab.{pair}.spm", f"srcvocab.{pair}.spm")
    target = _one_of(folder, f"vocab.{pair}.spm", f"trgvocab.{pair}.spm")
    if source is None or target is None:
        raise FileNotFoundError(f"{folder} has {model.name} without its vocabulary")
    return Files(model, (source, target), _one_of(folder, f"lex.50.50.{pair}.s2t.bin"))


def _one_of(folder: Path, *names: str) -> Path | None:
    paths = (folder / f"{name}{ending}" for name in names for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def read(path: Path) -> bytes:
    """A file's content, decompressed."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        from fxtranslate import discovery

        return discovery.verify_and_decompress(content)
    return content


def ends_whole(vocabulary: bytes) -> bool:
    """Whether a SentencePiece model, a row of fields that say their length, ends with one of them.

    The engine takes what is left of one that was cut off, and then translates wrongly.
    """
    at = 0
    while at < len(vocabulary):
        at, length, shift = at + 1, 0, 0
        while at < len(vocabulary) and vocabulary[at] & 0x80:
            length, at, shift = length | (vocabulary[at] & 0x7F) << shift, at + 1, shift + 7
        if at == len(vocabulary):
            return False
        at += 1 + (length | vocabulary[at] << shift)
    return at == len(vocabulary) > 0


def opened(files: Files) -> Engine:
    """Load a pair and try it.

    Raises:
        ImportError: The package is not installed.
        ValueError: A file is damaged.
    """
    from fxtranslate import Translator

    try:
        source, target = (read(path) for path in files.vocabularies)
        if not (ends_whole(source) and ends_whole(target)):
            raise ValueError("its vocabulary is cut off")
        shortlist = read(files.shortlist) if files.shortlist is not None else None
        engine = Translator(read(files.model), source, target, shortlist)
        # That a weight is missing is noticed only here.
        engine.translate("a")
    except ValueError as error:
        raise ValueError(f"{files.model.parent} is damaged: {error}") from None
    return engine


def opened_all(folder: Path, channel: Channel) -> dict[Pair, Engine]:
    """Load every pair of a folder. Where the engine panics, which no name catches, the last word is which pair it was.

    Raises:
        ImportError, OSError, ValueError: See `opened`.
    """
    engines: dict[Pair, Engine] = {}
    for pair, files in installed(folder).items():
        sys.excepthook = partial(_say_damaged, channel, files.model.parent)
        engines[pair] = opened(files)
    sys.excepthook = sys.__excepthook__
    return engines


def _say_damaged(channel: Channel, folder: Path, _kind: object, error: BaseException, _trace: object) -> None:
    channel.send({"kind": "missing", "what": f"{folder} is damaged: {error}"})


class Firefox:
    """Answers requests.

    Args:
        engines: By pair.
    """

    def __init__(self, engines: dict[Pair, Engine]) -> None:
        self._engines = engines

    @property
    def pairs(self) -> list[Pair]:
        """Those that there are, and those through English."""
        to, out_of = ([pair[at] for pair in self._engines if pair[1 - at] == PIVOT] for at in (0, 1))
        through = {(source, target) for source in to for target in out_of if source != target}
        return sorted(through | set(self._engines))

    def translate(self, message: Message, answer: Answer) -> None:
        """Translate one clause."""
        source, target, text = (message.fields[name] for name in ("source", "target", "text"))
        if (source, target) not in self.pairs:
            known = ", ".join(f"{one} to {other}" for one, other in self.pairs)
            raise Refused(f"{source} to {target} is not installed; there are {known}")
        direct = (source, target) in self._engines
        for pair in [(source, target)] if direct else [(source, PIVOT), (PIVOT, target)]:
            text = self._engines[pair].translate_long(text)
        answer.send("translated", text=text.strip())


def main(folder: Path) -> None:
    """Translate until the pipe is closed."""
    channel = Channel()
    try:
        version = importlib.metadata.version("fxtranslate")
        firefox = Firefox(opened_all(folder, channel))
    except (ImportError, OSError, ValueError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    if not firefox.pairs:
        channel.send({"kind": "missing", "what": f"no pair is installed in {folder}"})
        return
    ready = {
        "name": f"Firefox translation models, fxtranslate {version}",
        "licence": "MPL-2.0",
        "commercial": True,
        "quality": "good",
        "languages": sorted({language for pair in firefox.pairs for language in pair}),
        "pairs": firefox.pairs,
    }
    serve(channel, ready, {"translate": firefox.translate})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
