"""The program that recognises speech with Whisper, or translates it to English; only ever run as a process of its own.

Whisper decodes a whole sound. So the last seconds of a turn are decoded again for every step of new sound; what two
decodings in a row agree on is committed, handed to the next decoding as its beginning, and cut off with its sound once
a sentence has ended or the sound is too long. Sound and work stay bounded even where no word is ever committed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from stream.speech.agreement import Agreement, Guess
from stream.speech.heard import send_heard
from stream.speech.levels import FRAMES_PER_S, Samples, quietest, voiced
from stream.speech.model_list import MODELS
from stream.speech.whisper_network import RATE_HZ, UNSPACED, Network
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, serve

STEP_S = {384: 0.5, 512: 1.0}
"""New sound from one decoding to the next, by the width of the network: tiny, base."""
STEP_OF_LARGER_S = 2.0
# Above this share of its time a decoding would never be done with.
_SPARE = 1.2
_LONGEST_STEP_S = 5.0
_SHORTEST_S = 0.5
_VOICED_S = 0.2
_LEAD_S = 0.3
# Sound that is kept: until a sentence has ended, at most, and after a cut in which nothing was certain.
_SENTENCE_S, _LONGEST_S, _LEFT_S = 3.0, 6.0, 3.0
# So many certain words stay where a sound is cut in the middle of a sentence: they tell where it goes on.
_ANCHORS = 3
_CUT_WITHIN_S = 0.1
_CONTEXT_WORDS = 15
_FORGOTTEN_S = 10.0
_GAP_S = 0.1
_SAMPLE_S = 1 / RATE_HZ
_PIECE = RATE_HZ // 2
_DETECT_S, _DETECT_AT_LAST_S = 1.0, 3.0
_LIKELY, _CERTAIN = 0.6, 0.85


class Ear(Protocol):
    """What a stream listens with; see `whisper_network.Network`."""

    def detect(self, samples: Samples) -> tuple[str, float]:
        """The likeliest language of a sound, and its probability."""
        ...

    def decode(self, samples: Samples, said: Sequence[str], context: str, language: str, task: str) -> list[Guess]:
        """The words of a sound, in seconds from its first sample: those of `said`, and what follows them."""
        ...


class Tongue:
    """Which language is spoken: given, or detected once and kept until a turn is certainly in another.

    Args:
        ear: Detects it.
        given: The language, if it is known beforehand.

    Attributes:
        language: BCP 47 tag; None as long as it is not known.
    """

    def __init__(self, ear: Ear, given: str | None) -> None:
        self._ear = ear
        self._given = given is not None
        self._settled = self._given
        self._likely = self._given
        self.language = given

    def begin(self) -> None:
        """A new turn: it may be in another language."""
        self._settled = self._given

    def settle(self, samples: Samples, voiced_s: float, *, last: bool) -> str | None:
        """The language of a turn; None where more sound is needed to tell.

        Args:
            samples: The turn so far.
            voiced_s: How much of it is not silence.
            last: No more sound follows.
        """
        if self._settled or (voiced_s < _DETECT_S and not last):
            return self.language if self._settled else None
        found, probability = self._ear.detect(samples)
        if probability >= (_CERTAIN if self._likely else _LIKELY):
            self.language, self._likely = found, True
        elif not self._likely:
            if voiced_s < _DETECT_AT_LAST_S and not last:
                return None
            # The best guess serves this turn; the next may correct it without being certain.
            self.language = found
        self._settled = True
        return self.language


class Stream:
    """Words of one turn after the other.

    Args:
        ear: Hears them.
        tongue: Knows their language.
        task: "transcribe", or "translate" into English.
        step_s: New sound from one decoding to the next.
        clock: Seconds, to see how long a decoding takes.
    """

    def __init__(
        self,
        ear: Ear,
        tongue: Tongue,
        *,
        task: str = "transcribe",
        step_s: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ear = ear
        self._tongue = tongue
        self._task = task
        self._least_step_s = step_s
        self._clock = clock
        self._spent_s = 0.0
        self._tail: list[Guess] = []
        self._tail_language: str | None = None
        self._begin(0.0)

    def _begin(self, start_s: float) -> None:
        self._samples: Samples = np.zeros(0, np.float32)
        self._start_s = start_s
        self._decoded_s = start_s
        self._agreement = Agreement()
        self._tongue.begin()

    @property
    def heard_s(self) -> float:
        """Where the sound so far ends."""
        return self._start_s + len(self._samples) / RATE_HZ

    @property
    def step_s(self) -> float:
        """New sound that is waited for: more where decoding takes long."""
        return min(_LONGEST_STEP_S, max(self._least_step_s, _SPARE * self._spent_s))

    @property
    def language(self) -> str | None:
        """Of the words: that of the speech, or English where it is translated."""
        return "en" if self._task == "translate" else self._tongue.language

    @property
    def tentative(self) -> list[Guess]:
        """What the last decoding guesses beyond what is committed."""
        return self._agreement.tentative

    def follows(self, pts_s: float) -> bool:
        """Whether sound at a time goes on with the turn."""
        return not len(self._samples) or abs(pts_s - self.heard_s) <= _GAP_S

    def push(self, pts_s: float, samples: Samples) -> list[Guess]:
        """Take sound; give the words that are committed now."""
        if not len(self._samples):
            self._begin(pts_s)
        self._samples = np.concatenate([self._samples, samples])
        if self.heard_s - self._decoded_s < self.step_s - _SAMPLE_S or len(self._samples) < _SHORTEST_S * RATE_HZ:
            return []
        words = self._decode(last=False)
        self._cut()
        return words

    def flush(self) -> list[Guess]:
        """Commit all; the next sound begins a new turn."""
        words: list[Guess] = []
        if len(self._samples) >= _SHORTEST_S * RATE_HZ / 2:
            words = self._decode(last=True)
        words += self._kept(self._agreement.finish())
        self._begin(self.heard_s)
        return words

    def _decode(self, *, last: bool) -> list[Guess]:
        begun_s = self._clock()
        loud = voiced(self._samples, RATE_HZ)
        fresh = loud[int((self._decoded_s - self._start_s) * FRAMES_PER_S) :].any()
        self._decoded_s = self.heard_s
        voiced_s = float(loud.sum()) / FRAMES_PER_S
        # Of silence it makes words; and silence alone changes no guess, but lets one be made again.
        if voiced_s < _VOICED_S or not (fresh or self._agreement.tentative):
            return []
        language = self._tongue.settle(self._samples, voiced_s, last=last)
        if language is None:
            return []
        if language != self._tail_language:
            self._tail, self._tail_language = [], language
        said = [word.text for word in self._said()]
        guesses = self._ear.decode(self._samples, said, self._context(), language, self._task)
        words = self._agreement.add([self._placed(guess) for guess in guesses], self.heard_s)
        self._spent_s = self._clock() - begun_s
        return self._kept(words)

    def _placed(self, guess: Guess) -> Guess:
        """A guess in the time of the stream, and not after what was heard of it."""
        start_s, end_s = (min(self._start_s + each, self.heard_s) for each in (guess.start_s, guess.end_s))
        return Guess(guess.text, start_s, end_s)

    def _kept(self, words: list[Guess]) -> list[Guess]:
        self._tail = [*self._tail, *words][-_CONTEXT_WORDS - len(self._said()) :]
        return words

    def _said(self) -> list[Guess]:
        """The committed words whose sound is still there."""
        return [word for word in self._agreement.committed if (word.start_s + word.end_s) / 2 > self._start_s]

    def _context(self) -> str:
        """What was said before the sound that is there; nothing after a long silence, in which loops begin."""
        before = self._tail[: len(self._tail) - len(self._said())]
        if not before or self._start_s - before[-1].end_s > _FORGOTTEN_S:
            return ""
        return " ".join(word.text for word in before)

    def _cut(self) -> None:
        """Cut off sound that is done with."""
        length_s = len(self._samples) / RATE_HZ
        said = self._said()
        if not said and not self._agreement.tentative and not voiced(self._samples, RATE_HZ).any():
            self._cut_at(self.heard_s - _LEAD_S)
        elif (between := _after_sentence(said)) is not None and length_s > _SENTENCE_S:
            self._cut_at(between)
        elif length_s > _LONGEST_S:
            middle_s = said[-_ANCHORS].start_s if len(said) > _ANCHORS else self._start_s
            self._cut_at(middle_s if middle_s > self._start_s + 1.0 else self.heard_s - _LEFT_S)

    def _cut_at(self, at_s: float) -> None:
        near = round((at_s - self._start_s) * RATE_HZ)
        if near <= 0:
            return
        at = quietest(self._samples, RATE_HZ, near, _CUT_WITHIN_S)
        self._samples = self._samples[at:]
        self._start_s += at / RATE_HZ
        self._agreement.cut(self._start_s)


def _after_sentence(said: Sequence[Guess]) -> float | None:
    """Where the last sentence but the one that goes on has ended; None where there is none."""
    ends = [one.end_s for one, _ in pairwise(said) if one.text.endswith((".", "?", "!"))]
    return ends[-1] if ends else None


class Whisper:
    """Answers requests.

    Args:
        stream: Hears.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def push(self, message: Message, answer: Answer) -> None:
        """Sound; a gap before it ends the turn."""
        samples = np.frombuffer(message.body, "<f4")
        pts_s = message.fields["pts_ns"] / 1e9
        if not self._stream.follows(pts_s):
            self._send(self._stream.flush(), answer, endpoint=True)
        # A long piece is heard and answered step by step, as if it had come so: each part has the deadline for itself.
        for first in range(0, len(samples), _PIECE):
            self._send(self._stream.push(pts_s + first / RATE_HZ, samples[first : first + _PIECE]), answer)

    def flush(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - the signature of a handler
        """The end of a turn."""
        self._send(self._stream.flush(), answer, endpoint=True)

    def _send(self, words: list[Guess], answer: Answer, *, endpoint: bool = False) -> None:
        stream = self._stream
        send_heard(answer, stream.heard_s, words, stream.tentative, self._stream.language, endpoint=endpoint)


def _open(asked: argparse.Namespace) -> tuple[Network, Whisper]:
    """Load the model.

    Raises:
        ImportError: CTranslate2 is not installed.
        OSError: A file of the model is not there.
        RuntimeError: CTranslate2 cannot read the model.
        ValueError: The model does not do what is asked.
    """
    network = Network(asked.model, asked.threads)
    if asked.translate and not network.multilingual:
        raise ValueError(f"{asked.model.name} knows English alone, so it translates nothing")
    if asked.language is not None and asked.language not in heard_languages(network.languages, asked.translate):
        raise ValueError(f"{asked.model.name} does not hear {asked.language!r}")
    step_s = asked.step if asked.step is not None else STEP_S.get(network.width, STEP_OF_LARGER_S)
    language = asked.language if network.multilingual else "en"
    task = "translate" if asked.translate else "transcribe"
    return network, Whisper(Stream(network, Tongue(network, language), task=task, step_s=step_s))


def heard_languages(known: Sequence[str], translate: bool) -> list[str]:
    """The languages that can be heard: words are needed, which not all writing separates; English words always are."""
    return [each for each in known if translate or each not in UNSPACED]


def main() -> None:
    """Recognise until the pipe is closed."""
    parser = argparse.ArgumentParser(prog="whisper_worker", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--language")
    parser.add_argument("--translate", action="store_true")
    parser.add_argument("--step", type=float)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    channel = Channel()
    try:
        network, whisper = _open(asked)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    languages = heard_languages(network.languages, asked.translate)
    # Whose model it is that somebody brought, and what they may do with it, is not known.
    known = MODELS.get(asked.model.name)
    ready = {
        "name": asked.model.name,
        "licence": known.licence if known else "NOASSERTION",
        "commercial": known.commercial if known else False,
        "quality": "draft" if asked.translate else "good",
        "languages": languages if asked.language is None else [asked.language],
        "into": "en" if asked.translate else None,
    }
    serve(channel, ready, {"push": whisper.push, "flush": whisper.flush})


if __name__ == "__main__":
    main()
