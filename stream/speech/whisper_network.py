"""Whisper's network on CTranslate2, in int8: from a sound to its language, and to words with times.

Only ever imported by `whisper_worker`, a process of its own. Whisper was trained on sounds of 30 s, and pads shorter
ones; here a sound is padded to `WINDOW_S` alone (decision 20 has what that costs and saves).

Source: A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356; the
spectrogram is that of `log_mel_spectrogram` in openai/whisper, `audio.py`.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.speech.agreement import Guess

RATE_HZ = 16_000
WINDOW_S = 10.0
"""Padded with silence to this length at least: below 8 s the decoder does not find the end and says things again."""
_HOP, _FFT = 160, 400
_FRAMES_PER_S = RATE_HZ // _HOP
_BREAK_HZ, _HZ_PER_MEL = 1000.0, 200.0 / 3  # Slaney's mel scale is linear below
_LOG_STEP = np.log(6.4) / 27
# Whisper's own limits for what it should not be believed.
_NO_SPEECH, _MEAN_LOG_PROBABILITY, _COMPRESSION = 0.6, -1.0, 2.4
# More than anybody says: it ends a loop early.
_TOKENS_PER_S = 9.0
_MOST_TOKENS = 448
_CONTEXT_TOKENS = 60
# No word is shorter, and so many in a row are not as short as this.
_SHORTEST_WORD_S, _RUN = 0.06, 3
_RENAMED = {"jw": "jv"}  # Whisper's code for Javanese is not the BCP 47 one
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages that are written without spaces between words."""

Samples = NDArray[np.float32]


class Network:
    """A Whisper model.

    Args:
        folder: `model.bin`, `config.json` and `vocabulary.txt` or `.json`, as CTranslate2 writes them.
        threads: How many it may use.

    Attributes:
        multilingual: Whether it knows languages and translates; English alone otherwise.
        width: Of its layers: 384 is tiny, 512 base, 768 small.

    Raises:
        ImportError: CTranslate2 is not installed.
        RuntimeError: CTranslate2 cannot read the model.
        ValueError: The vocabulary is not Whisper's.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import ctranslate2

        self._view = ctranslate2.StorageView
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
        )
        self.multilingual: bool = self._model.is_multilingual
        self._vocabulary = Vocabulary(read_vocabulary(folder))
        self._filters = mel_filters(self._model.n_mels)
        self._encoded: tuple[Samples, Any] | None = None
        # The first run makes room for all later ones.
        self.width: int = self._encode(np.zeros(RATE_HZ, np.float32)).shape[2]

    @property
    def languages(self) -> tuple[str, ...]:
        """BCP 47 tags of the languages that it knows."""
        return self._vocabulary.languages if self.multilingual else ("en",)

    def detect(self, samples: Samples) -> tuple[str, float]:
        """The likeliest language of a sound, and its probability."""
        if not self.multilingual:
            return "en", 1.0
        token, probability = self._model.detect_language(self._encode(samples))[0][0]
        return _RENAMED.get(token[2:-2], token[2:-2]), probability

    def decode(self, samples: Samples, said: Sequence[str], context: str, language: str, task: str) -> list[Guess]:
        """The words of a sound, in seconds from its first sample.

        Args:
            samples: float32 [n].
            said: Words of its beginning, which are certain; they are taken as they are.
            context: What was said before it.
            language: Of the sound.
            task: "transcribe", or "translate" into English.

        Returns:
            Those of `said`, and what follows them.
        """
        start = self._vocabulary.start(language if self.multilingual else None, task)
        known = self._vocabulary.encoded(said)
        fresh = self._continued(samples, start, known, context)
        tokens = [*known, *fresh]
        if not tokens:
            return []
        (aligned,) = self._model.align(self._encode(samples), start[:-1], [tokens], len(samples) // _HOP)
        words = list(self._timed(tokens, _token_times_s(aligned.alignments, len(tokens))))
        return believable(words, len(said), len(samples) / RATE_HZ)

    def _continued(self, samples: Samples, start: list[int], known: list[int], context: str) -> list[int]:
        """The tokens that follow those that are known; none where the model does not trust itself."""
        before = self._vocabulary.encoded(context.split())[-_CONTEXT_TOKENS:]
        prompt = [*([self._vocabulary.previous, *before] if before else []), *start, *known]
        most = min(_MOST_TOKENS, len(prompt) + max(8, int(len(samples) / RATE_HZ * _TOKENS_PER_S) - len(known)))
        (result,) = self._model.generate(
            self._encode(samples),
            [prompt],
            beam_size=1,
            max_length=most,
            return_scores=True,
            return_no_speech_prob=True,
        )
        # What is known comes back with the answer.
        tokens: list[int] = [token for token in result.sequences_ids[0][len(known) :] if token < self._vocabulary.end]
        no_speech = result.no_speech_prob > _NO_SPEECH and result.scores[0] < _MEAN_LOG_PROBABILITY
        return [] if no_speech or loops(self._vocabulary.text([*known, *tokens])) else tokens

    def _timed(self, tokens: list[int], times_s: list[float]) -> Iterator[Guess]:
        """Words with the times of their first token and of the next word's."""
        begins = self._vocabulary.word_starts(tokens)
        for first, after in pairwise([*begins, len(tokens)]):
            if word := self._vocabulary.text(tokens[first:after]).strip():
                yield Guess(word, times_s[first], times_s[after])

    def _encode(self, samples: Samples) -> Any:  # noqa: ANN401 - CTranslate2 has no types
        if self._encoded is None or self._encoded[0] is not samples:
            length = round(max(WINDOW_S, len(samples) / RATE_HZ + 1.0) * RATE_HZ)
            padded = np.zeros(length // (2 * _HOP) * 2 * _HOP, np.float32)
            padded[: len(samples)] = samples
            features = np.ascontiguousarray(log_mel(padded, self._filters)[None])
            self._encoded = samples, self._model.encode(self._view.from_array(features))
        return self._encoded[1]


def _token_times_s(alignments: Sequence[tuple[int, int]], count: int) -> list[float]:
    """When each token begins, and when the last one ends: float [count + 1].

    Args:
        alignments: Pairs of token and encoder frame along the path of least cost; both only grow.
        count: Tokens.
    """
    first: dict[int, int] = {}
    for token, frame in alignments:
        first.setdefault(token, frame)
    last = alignments[-1][1] if alignments else 0
    return [2 * first.get(token, last) / _FRAMES_PER_S for token in range(count + 1)]


def believable(words: list[Guess], certain: int, end_s: float) -> list[Guess]:
    """Words as far as there is sound for them: what the decoder makes up is aligned with next to none.

    Args:
        words: Of a sound, with the times of their alignment.
        certain: How many of the first are taken as they are.
        end_s: Where the sound ends.
    """
    for index in range(certain, len(words)):
        run = words[index : index + _RUN]
        squeezed = len(run) == _RUN and run[-1].end_s - run[0].start_s < _RUN * _SHORTEST_WORD_S
        if squeezed or words[index].start_s > end_s - _SHORTEST_WORD_S:
            return words[:index]
    return words


def loops(text: str) -> bool:
    """Whether a text says the same over and over, by how small it can be packed."""
    data = text.encode()
    return len(data) > _COMPRESSION * len(zlib.compress(data))


def _make_letters() -> dict[int, str]:
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


_LETTERS = _make_letters()
"""The printable letter that stands for each byte in GPT-2's vocabulary (openai/gpt-2, `encoder.py`)."""


class Vocabulary:
    """Whisper's tokens: byte pairs in the order in which they were merged, as in GPT-2, and then marks.

    Args:
        tokens: All, in the spelling of GPT-2, which has a printable letter for each byte.

    Raises:
        ValueError: They are not Whisper's.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._ids = {token: index for index, token in enumerate(tokens)}
        try:
            self.end = self._ids["<|endoftext|>"]
            self.previous = self._ids["<|startofprev|>"]
            self._begin, self._untimed = self._ids["<|startoftranscript|>"], self._ids["<|notimestamps|>"]
        except KeyError as missing:
            raise ValueError(f"the vocabulary has no {missing}: it is not Whisper's") from None
        self._bytes = {letter: byte for byte, letter in _LETTERS.items()}

    @property
    def languages(self) -> tuple[str, ...]:
        """BCP 47 tags of those between the mark of the beginning and the first task."""
        marks = self._tokens[self._begin + 1 : self._ids["<|translate|>"]]
        return tuple(_RENAMED.get(mark[2:-2], mark[2:-2]) for mark in marks)

    def start(self, language: str | None, task: str) -> list[int]:
        """What a text begins with; a model of English alone knows neither languages nor tasks."""
        if language is None:
            return [self._begin, self._untimed]
        code = next((old for old, new in _RENAMED.items() if new == language), language)
        return [self._begin, self._ids[f"<|{code}|>"], self._ids[f"<|{task}|>"], self._untimed]

    def encoded(self, words: Sequence[str]) -> list[int]:
        """Tokens of words with a space before each."""
        return [token for word in words for token in self._encoded(word)]

    def _encoded(self, word: str) -> list[int]:
        parts = [_LETTERS[byte] for byte in f" {word}".encode()]
        while len(parts) > 1:
            # A token's number is its rank: that of the pair that is merged first is the lowest.
            rank, at = min(
                (self._ids.get(one + other, self.end), at) for at, (one, other) in enumerate(pairwise(parts))
            )
            if rank >= self.end:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self._ids[part] for part in parts]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens that are no marks; a letter that is not whole is left out."""
        letters = "".join(self._tokens[token] for token in tokens)
        return bytes(self._bytes[letter] for letter in letters).decode(errors="ignore")

    def word_starts(self, tokens: Sequence[int]) -> list[int]:
        """Where words begin: at a space, and at the start."""
        return [at for at, token in enumerate(tokens) if at == 0 or self._tokens[token].startswith("\u0120")]


def read_vocabulary(folder: Path) -> list[str]:
    """The tokens of a model in the order of their numbers.

    Raises:
        OSError: There is no vocabulary.
    """
    listed = folder / "vocabulary.json"
    if listed.is_file():
        tokens: list[str] = json.loads(listed.read_text())
        return tokens
    return (folder / "vocabulary.txt").read_text().split("\n")


def mel_filters(bands: int) -> NDArray[np.float32]:
    """Triangles of equal area on Slaney's mel scale, float32 [bands, frequencies]."""
    highest = _BREAK_HZ / _HZ_PER_MEL + np.log(RATE_HZ / 2 / _BREAK_HZ) / _LOG_STEP
    mels = np.linspace(0.0, highest, bands + 2)
    corners_hz = np.where(
        mels < _BREAK_HZ / _HZ_PER_MEL,
        mels * _HZ_PER_MEL,
        _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_HZ / _HZ_PER_MEL)),
    )
    away_hz = corners_hz[:, None] - np.fft.rfftfreq(_FFT, 1 / RATE_HZ)[None]
    widths_hz = np.diff(corners_hz)[:, None]
    rising, falling = -away_hz[:-2] / widths_hz[:-1], away_hz[2:] / widths_hz[1:]
    areas = 2.0 / (corners_hz[2:] - corners_hz[:-2])
    filters: NDArray[np.float32] = (np.maximum(0.0, np.minimum(rising, falling)) * areas[:, None]).astype(np.float32)
    return filters


def log_mel(samples: Samples, filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whisper's spectrogram, float32 [bands, n / 160].

    Args:
        samples: float32 [n].
        filters: See `mel_filters`.
    """
    padded = np.pad(samples, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[:-1:_HOP][: len(samples) // _HOP]
    spectrum = np.fft.rfft(frames * np.hanning(_FFT + 1)[:-1].astype(np.float32))
    logs = np.log10(np.maximum(filters @ np.square(np.abs(spectrum)).T, 1e-10))
    scaled: NDArray[np.float32] = ((np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return scaled
