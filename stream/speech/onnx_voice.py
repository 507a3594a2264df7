"""What the workers of voices that are ONNX networks share: phonemes, parts of a clause, the network, where phones lie.

Phonemes are asked of the program espeak-ng, which is under the GPL: over pipes, and nothing of it is loaded here.
"""

import contextlib
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.speech.model_list import MODELS
from stream.speech.store import verified
from stream.speech.worker import Answer

PROGRAM = "espeak-ng"
TIE = "^"
MARKS = ".,;:!?…"

# Longer lines would be taken in two by the program, whose buffer has 1000 bytes.
_LINE_CHARACTERS = 200
# No language's word: its phonemes say that those of a text have ended.
_LAST_WORD = "zyzzyvaxyzzyz"
_NOT_SPOKEN = re.compile(r"[\x00-\x1f\x7f\[\]()]")
_LANGUAGE_SWITCH = re.compile(r"\([a-z^-]*\)")

# A network makes some 0.9 s of silence around every part: short parts cost more than they save.
_SOFT_LETTERS = 24
_HARD_LETTERS = 80

_LEAD_MS = 30
_TAIL_MS = {"": 30, ",": 120, ";": 150, ":": 150}
_LONGEST_TAIL_MS = 250
_FRAME_MS = 5
_AUDIBLE = 0.01  # of the loudest frame

Samples = Any  # float32 [n]
Phone = tuple[str, int, int]
"""IPA, first sample and the sample after the last."""


def model_folder(model: str, models: Path) -> Path:
    """Where a model lies.

    Args:
        model: A name of the catalogue, whose files are held against their pins, or the path of a folder.
        models: `store.models_folder`.

    Raises:
        ConfigError: A file of the catalogue's model is not there, or not what it should be.
    """
    return verified(model, models, MODELS) if model in MODELS else Path(model)


class Phonemiser:
    """The program espeak-ng for one language: a line of text in, its phonemes out.

    Args:
        voice: Its name of the language.

    Raises:
        OSError: The program is not installed or has no such voice.
    """

    def __init__(self, voice: str) -> None:
        command = (PROGRAM, "-q", "-b", "1", "--ipa", f"--tie={TIE}", "-v", voice)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._write(_LAST_WORD)
        try:
            self._last = self._read()
        except EOFError:
            raise OSError(f"{PROGRAM} has no voice {voice!r}") from None

    def phonemes(self, text: str) -> str:
        """The phonemes of a text without punctuation, in IPA; those that belong together are tied with `TIE`.

        Raises:
            EOFError: The program ended.
        """
        line = _NOT_SPOKEN.sub(" ", text.replace(_LAST_WORD, " ")).strip()[:_LINE_CHARACTERS]
        self._write(line)
        self._write(_LAST_WORD)
        found = []
        while (phonemes := self._read()) != self._last:
            found.append(phonemes)
        return " ".join(_LANGUAGE_SWITCH.sub(" ", " ".join(found)).split())

    def close(self) -> None:
        """End the program, which may have ended by itself."""
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._process.wait()
        self._out.close()

    def _write(self, line: str) -> None:
        try:
            self._in.write(f"{line}\n".encode())
            self._in.flush()
        except BrokenPipeError:
            return  # what it said last tells why

    def _read(self) -> str:
        line = self._out.readline()
        if not line:
            raise EOFError(f"{PROGRAM} ended")
        return line.decode(errors="ignore").strip()


class Phonemisers:
    """One `Phonemiser` for each language, started when it is first needed."""

    def __init__(self) -> None:
        self._running: dict[str, Phonemiser] = {}

    def phonemes(self, text: str, voice: str) -> str:
        """See `Phonemiser.phonemes`."""
        if voice not in self._running:
            self._running[voice] = Phonemiser(voice)
        return self._running[voice].phonemes(text)

    def close(self) -> None:
        """End the programs."""
        for phonemiser in self._running.values():
            phonemiser.close()


@dataclass(frozen=True, slots=True)
class Piece:
    """Words without punctuation, and the mark that follows them, empty for none."""

    words: str
    mark: str


Part = tuple[Piece, ...]
"""What the network speaks in one go."""


def split(text: str, soft: int = _SOFT_LETTERS, hard: int = _HARD_LETTERS) -> list[Part]:
    """Split a clause into parts, so that its first sound comes before all of it is made.

    Args:
        text: One clause.
        soft: A part ends with the punctuation after so many characters.
        hard: A part has no more than about so many.
    """
    parts: list[Part] = []
    part: list[Piece] = []
    for piece in (short for long in _pieces(text) for short in _cut(long, hard)):
        if part and _letters(part) + len(piece.words) > hard:
            parts.append(tuple(part))
            part = []
        part.append(piece)
        if _letters(part) >= soft:
            parts.append(tuple(part))
            part = []
    # Little that is left over costs less with the part before than alone.
    if parts and part and _letters(part) < soft // 2 and _letters([*parts[-1], *part]) <= hard:
        part = [*parts.pop(), *part]
    return [*parts, tuple(part)] if part else parts


def _letters(part: Sequence[Piece]) -> int:
    return sum(len(piece.words) for piece in part)


def _pieces(text: str) -> list[Piece]:
    """Split at punctuation that ends a word; what stands within one, as in 3.5 or it's, is spoken."""
    pieces: list[Piece] = []
    words: list[str] = []
    for token in text.split():
        word = token.rstrip(MARKS + ")]»”\"'")
        mark = next((mark for mark in token[len(word) :] if mark in MARKS), "")
        word = word.lstrip("¿¡([«“\"'")
        if any(letter.isalnum() for letter in word):
            words.append(word)
        if mark and words:
            pieces.append(Piece(" ".join(words), mark))
            words = []
    return [*pieces, Piece(" ".join(words), "")] if words else pieces


def _cut(piece: Piece, hard: int) -> list[Piece]:
    """Cut what is too long between words, into lengths that are about the same."""
    count = -(-len(piece.words) // hard)
    if count <= 1:
        return [piece]
    each = len(piece.words) / count
    lines = [""]
    for word in piece.words.split():
        if len(lines[-1]) >= each - len(word) / 2 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [Piece(line, "") for line in lines[:-1]] + [Piece(lines[-1], piece.mark)]


class Network:
    """A network on onnxruntime that gives sound and, where it has them inside, how long each symbol lasts.

    Args:
        path: The ONNX file.
        threads: How many it computes on.
        durations: Name of the inner value that says how long symbols last.

    Attributes:
        phone_times: The network has that value.

    Raises:
        ImportError: onnxruntime is not installed.
        OSError: The file cannot be read.
        ValueError: It is no network.
    """

    def __init__(self, path: Path, threads: int, durations: str) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        model = path.read_bytes()
        self.phone_times = durations.encode() in model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        shown = with_output(model, durations) if self.phone_times else model
        try:
            self._session = onnxruntime.InferenceSession(shown, options, ["CPUExecutionProvider"])
        except (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf) as error:
            raise ValueError(f"{path} is not a network that onnxruntime can load: {error}") from None
        self.inputs = {each.name for each in self._session.get_inputs()}

    def run(self, feed: Mapping[str, Any]) -> tuple[Samples, Samples | None]:
        """Compute the sound, float32 [n], and how long each symbol lasts, int [symbols], if it says so."""
        sound, *durations = self._session.run(None, feed)
        return sound.ravel(), np.rint(durations[0]).astype(int).ravel() if durations else None


def with_output(model: bytes, name: str) -> bytes:
    """Let a serialised ONNX model give an inner value as one more output.

    Protocol buffers that follow each other are one message, in which fields that repeat are joined. So what is appended
    here (`ModelProto.graph`, field 7; `GraphProto.output`, 12; `ValueInfoProto.name`, 1) is one more output.

    Raises:
        ValueError: The name is too long for lengths of one byte.
    """
    return model + _field(7, _field(12, _field(1, name.encode())))


def _field(number: int, content: bytes) -> bytes:
    if len(content) > 127:
        raise ValueError(f"{len(content)} bytes, at most 127 are written here")
    return bytes([number << 3 | 2, len(content)]) + content


# Sounded with what stands after them: stress, and a blank between symbols. With Piper's blanks counted so, starts and
# ends of s lie within 8 ms of where they are heard; counted with what stands before, 46 ms late.
_AHEAD = "ˈˌ_"
# Sounded with what stands before them: a word's end, length, and other modifiers.
_JOINED = " ːˑʰʲ̧̪̯̩̃ˤ˞"
_LONGER = "ːˑ"
_SILENT = f"^${MARKS}—"


def phones_of(symbols: Sequence[str], samples: Sequence[int], spelt: Mapping[str, str]) -> list[Phone]:
    """Where each phone lies, without gaps.

    Args:
        symbols: What the network was given, its marks for start ("^"), end ("$") and blank ("_") among them.
        samples: How long each of them lasts.
        spelt: IPA of the symbols that are not IPA.
    """
    phones: list[Phone] = []
    at, begun = 0, 0
    for symbol, length in zip(symbols, samples, strict=True):
        at += int(length)
        if symbol in _AHEAD:
            continue
        ipa = "" if symbol in _SILENT else spelt.get(symbol, symbol)
        if symbol in _JOINED and phones:
            last, start, _ = phones.pop()
            phones.append((last + symbol if symbol in _LONGER and last else last, start, at))
        elif phones and phones[-1][0] == ipa == "":
            phones.append(("", phones.pop()[1], at))
        elif at > begun:
            phones.append(("" if symbol in _JOINED else ipa, begun, at))
        begun = at
    return phones


Sound = tuple[Samples, list[Phone]]


def trimmed(sound: Sound, rate_hz: int, mark: str) -> Sound:
    """Cut the silence around a part down to what a speaker would leave.

    Args:
        sound: Samples, and the phones in them.
        rate_hz: Samples a second.
        mark: The punctuation after the part; the pause is as long as it asks for.
    """
    samples, phones = sound
    frame = rate_hz * _FRAME_MS // 1000
    levels = np.abs(samples[: len(samples) // frame * frame].reshape(-1, frame)).max(axis=1, initial=0.0)
    audible = np.flatnonzero(levels > _AUDIBLE * levels.max(initial=0.0))
    if not len(audible):
        return samples[:0], []
    tail_ms = _TAIL_MS.get(mark, _LONGEST_TAIL_MS)
    first = max(0, int(audible[0]) * frame - rate_hz * _LEAD_MS // 1000)
    last = min(len(samples), (int(audible[-1]) + 1) * frame + rate_hz * tail_ms // 1000)
    phones = _hushed(phones, (audible + 1) * frame)
    moved = [(ipa, max(start, first) - first, min(end, last) - first) for ipa, start, end in phones]
    return samples[first:last], [phone for phone in moved if phone[1] < phone[2]]


def _hushed(phones: Sequence[Phone], audible: Samples) -> list[Phone]:
    """Let a pause begin where its silence does: networks count most of it as the phone before.

    Args:
        phones: Without gaps.
        audible: The end of each frame that is heard, in samples.
    """
    hushed: list[Phone] = []
    for index, (ipa, start, end) in enumerate(phones):
        before_pause = index + 1 == len(phones) or phones[index + 1][0] == ""
        heard = audible[(audible > start) & (audible < end)]
        if ipa and before_pause and len(heard):
            hushed += [(ipa, start, int(heard[-1])), ("", int(heard[-1]), end)]
        elif hushed and hushed[-1][0] == ipa == "":
            hushed.append(("", hushed.pop()[1], end))
        else:
            hushed.append((ipa, start, end))
    return hushed


def speak_parts(text: str, answer: Answer, rate_hz: int, speak: Callable[[Part], Sound | None]) -> None:
    """Speak a clause part by part, until it is cancelled.

    Args:
        text: The clause.
        answer: Where the sound goes.
        rate_hz: Samples a second.
        speak: Makes the sound of a part; None where nothing in it can be spoken.
    """
    start = 0
    for part in split(text):
        if answer.cancelled:
            return
        made = speak(part)
        if made is None:
            continue
        samples, phones = trimmed(made, rate_hz, part[-1].mark)
        placed = [(ipa, start + begin, start + end) for ipa, begin, end in phones]
        body = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        answer.send("sound", body, start=start, rate_hz=rate_hz, phones=placed)
        start += len(samples)
