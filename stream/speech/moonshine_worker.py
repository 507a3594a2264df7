"""The program that recognises English with Moonshine; only ever run as a process of its own.

Its model decodes a whole sound, in a time that grows with the sound. So what was committed is cut off, at the quietest
place near its end, and the rest is decoded again whenever 300 ms have been added, or the speaker has paused.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stream.speech.agreement import Agreement, Guess, spread
from stream.speech.heard import send_heard
from stream.speech.levels import FRAMES_PER_S, quietest, voiced
from stream.speech.store import sha256_of
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, serve

RATE_HZ = 16_000
STEP_S = 0.3
# Decoded again and again: what is longer than this is cut.
_LONGEST_S = 4.0
_HARD_LIMIT_S = 8.0
_SHORTEST_S = 0.5
_FRAME = RATE_HZ // FRAMES_PER_S
_PAUSE_FRAMES = 6
# So long a silence ends the words before it; a stop consonant keeps quiet for less. Quieter than what parts two words.
_SETTLED_FRAMES = 7
# After so long they are decoded already, so that they need only be committed.
_FALTERS_FRAMES = 4
_SETTLED_LEVEL = 0.03
_HEADS, _HEAD_SIZE = 8, 36
_START, _END = 1, 2
# What its authors allow: more is a loop.
_TOKENS_PER_S = 6.5

MODEL_SHA256 = {
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
"""Of the weights in moonshine-voice 0.1.0, MIT."""

Samples = Any  # float32 [n]
Decode = Callable[[Samples], str]


class Stream:
    """Words of one turn after the other.

    Args:
        decode: The text of a sound, float32 [n] at 16 kHz.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._begin(0.0)

    def _begin(self, start_s: float) -> None:
        self._samples: Samples = np.zeros(0, np.float32)
        self._start_s = start_s
        self._decoded_s = start_s
        self._settled = False
        # What was heard before a silence that may become a pause.
        self._early: list[Guess] | None = None
        self._agreement = Agreement()

    @property
    def heard_s(self) -> float:
        """Where the sound so far ends."""
        return self._start_s + len(self._samples) / RATE_HZ

    @property
    def tentative(self) -> list[Guess]:
        """What the last decoding guesses beyond what is committed."""
        return self._agreement.tentative

    def push(self, pts_s: float, samples: Samples) -> list[Guess]:
        """Take sound; give the words that are committed now."""
        if not len(self._samples):
            self._begin(pts_s)
        self._samples = np.concatenate([self._samples, samples])
        if len(self._samples) < _SHORTEST_S * RATE_HZ:
            return []
        quiet = _quiet_frames(self._samples)
        paused = quiet >= _SETTLED_FRAMES
        if paused and self._settled:
            # Nothing was said since: the next decoding waits for a step of speech.
            self._decoded_s = self.heard_s
            return []
        if quiet < _FALTERS_FRAMES:
            self._early = None
        elif self._early is None and not paused:
            self._early = self._guess()
        if not paused and self.heard_s - self._decoded_s < STEP_S:
            return []
        self._settled, self._decoded_s = paused, self.heard_s
        guess = self._early if paused and self._early is not None else self._guess()
        words = self._agreement.add(guess, self.heard_s)
        if paused:
            words += self._agreement.finish()
        self._early = None
        self._cut()
        return words

    def flush(self) -> list[Guess]:
        """Commit all; the next sound begins a new turn."""
        words: list[Guess] = []
        if not self._settled and len(self._samples) >= _SHORTEST_S * RATE_HZ / 2:
            words = self._agreement.add(self._guess(), self.heard_s)
            words += self._agreement.finish()
        self._begin(self.heard_s)
        return words

    def _guess(self) -> list[Guess]:
        loud = np.flatnonzero(voiced(self._samples, RATE_HZ))
        if not len(loud):
            return []
        # Letters are spread over what is not silence: a word does not last through a pause.
        guesses = spread(self._decode(self._samples), 0.0, float(len(loud)))
        # What it makes of half a word or of breath, where nothing else was heard yet.
        if len(guesses) == 1 and guesses[0].plain in ("you", "i", "") and len(loud) < FRAMES_PER_S:
            return []
        return [Guess(each.text, self._time(loud, each.start_s), self._time(loud, each.end_s)) for each in guesses]

    def _time(self, loud: Samples, frames: float) -> float:
        """When so many frames that are not silent have passed."""
        whole = min(int(frames), len(loud) - 1)
        return self._start_s + (float(loud[whole]) + min(1.0, frames - whole)) / FRAMES_PER_S

    def _cut(self) -> None:
        """Cut off the sound of committed words where too much is decoded again: in a pause, if there is one."""
        committed = self._agreement.committed
        if len(self._samples) <= _LONGEST_S * RATE_HZ:
            return
        # The last committed word stays: its time is only guessed, and it tells where the next decoding goes on.
        before = int((committed[-2].end_s - self._start_s) * RATE_HZ) if len(committed) > 1 else 0
        at = _last_pause(self._samples, before)
        if at is None and len(self._samples) > _HARD_LIMIT_S * RATE_HZ:
            latest = max(before, len(self._samples) - int(_LONGEST_S * RATE_HZ))
            at = quietest(self._samples, RATE_HZ, latest, 0.16)
        if at is not None and at > RATE_HZ // 4:
            self._samples = self._samples[at:]
            self._start_s += at / RATE_HZ
            self._agreement.cut(self._start_s)


def _quiet_frames(samples: Samples) -> int:
    """How many frames of silence follow the last speech; 0 where nobody spoke."""
    loud = np.flatnonzero(spoken := voiced(samples, RATE_HZ, _SETTLED_LEVEL))
    return len(spoken) - 1 - int(loud[-1]) if len(loud) else 0


def _last_pause(samples: Samples, before: int) -> int | None:
    """The middle of the last silence of 120 ms or more that begins before a sample; None where there is none."""
    spoken = voiced(samples, RATE_HZ)[: before // _FRAME + _PAUSE_FRAMES]
    run = 0
    for frame in range(len(spoken) - 1, -1, -1):
        run = 0 if spoken[frame] else run + 1
        if run >= _PAUSE_FRAMES:
            return (frame + run // 2) * _FRAME
    return None


def _open_model() -> Decode:
    """Load the weights that come with the package; they run on onnxruntime, on one thread.

    Raises:
        ImportError: A package is not installed, or came without its weights.
        ValueError: A file of the model is not the one that is expected.
    """
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is None or spec.origin is None:
        raise ImportError("moonshine-voice is not installed")
    folder = Path(spec.origin).parent / "assets" / "tiny-en"
    _verify(folder)
    return Network(folder).decode


def _verify(folder: Path) -> None:
    for name, expected in MODEL_SHA256.items():
        path = folder / name
        if not path.is_file():
            raise ImportError(f"moonshine-voice is there without {name}; version 0.1.0 carries it")
        found = sha256_of(path)
        if found != expected:
            raise ValueError(f"{name} is damaged: its sha256 is {found[:16]}, expected {expected[:16]}")


class Network:
    """Moonshine's encoder and decoder.

    What was decoded last is offered to the decoder as a draft and checked in one pass, so that sound which has grown by
    half a second costs little more than its encoder. The result is that of greedy decoding.

    Args:
        folder: Where the three files lie.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder_model.ort"), options, providers)
        self._decoder = onnxruntime.InferenceSession(str(folder / "decoder_model_merged.ort"), options, providers)
        self._tokens = _read_tokens((folder / "tokenizer.bin").read_bytes())
        self._caches = [each.name for each in self._decoder.get_inputs() if each.name.startswith("past_key_values")]
        self._presents = [name.replace("past_key_values", "present") for name in self._caches]
        self._draft: list[int] = []
        self._cache: dict[str, Samples] = {}

    def decode(self, samples: Samples) -> str:
        """The text of a sound."""
        sound = samples[None].astype(np.float32)
        mask = np.ones(sound.shape, np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": sound, "attention_mask": mask})
        fixed = {"encoder_hidden_states": hidden, "encoder_attention_mask": np.ones(hidden.shape[:2], np.int64)}
        most = int(len(samples) / RATE_HZ * _TOKENS_PER_S) + 4
        tokens = self._checked(fixed, self._draft[:most])
        tokens = self._continued(fixed, tokens, most)
        self._draft = tokens
        return b"".join(self._tokens[token] for token in tokens).decode(errors="ignore").replace("\u2581", " ").strip()

    def _checked(self, fixed: dict[str, Samples], draft: list[int]) -> list[int]:
        """As much of the draft as the decoder would have said itself, and the token that it says instead or next."""
        empty = np.zeros((1, _HEADS, 0, _HEAD_SIZE), np.float32)
        feed = {**fixed, **dict.fromkeys(self._caches, empty)}
        logits = self._run(feed, [_START, *draft], cached=False)
        said = [int(token) for token in logits.argmax(axis=1)]
        count = 0
        while count < len(draft) and said[count] == draft[count]:
            count += 1
        # What the cache holds of a draft that was refused is cut off again.
        self._cache = {
            name: value[:, :, : count + 1] if "decoder" in name else value for name, value in self._cache.items()
        }
        return [*draft[:count], said[count]]

    def _continued(self, fixed: dict[str, Samples], tokens: list[int], most: int) -> list[int]:
        while tokens[-1] != _END and len(tokens) < most:
            logits = self._run({**fixed, **self._cache}, tokens[-1:], cached=True)
            tokens.append(int(logits[-1].argmax()))
        return tokens[:-1] if tokens[-1] == _END else tokens

    def _run(self, feed: dict[str, Samples], tokens: list[int], *, cached: bool) -> Samples:
        ids = np.array([tokens], np.int64)
        wanted = ["logits", *self._presents]
        logits, *caches = self._decoder.run(wanted, {**feed, "input_ids": ids, "use_cache_branch": np.array([cached])})
        fresh = dict(zip(self._caches, caches, strict=True))
        if cached:
            # The branch with a cache gives none for the encoder, which does not change.
            fresh |= {name: feed[name] for name in self._caches if "encoder" in name}
        self._cache = fresh
        return logits[0]


def _read_tokens(data: bytes) -> list[bytes]:
    """The tokens of `tokenizer.bin`: a length of one byte, or of two where the first is 128 or more, and the token."""
    tokens, at = [], 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= 128:
            length, at = (length - 128) + data[at] * 128, at + 1
        tokens.append(b"" if length == 0 else data[at : at + length])
        at += length
    return tokens


class Moonshine:
    """Answers requests.

    Args:
        decode: See `Stream`.
    """

    def __init__(self, decode: Decode) -> None:
        self._stream = Stream(decode)

    def push(self, message: Message, answer: Answer) -> None:
        """Sound."""
        samples = np.frombuffer(message.body, "<f4")
        step, pts_s = int(STEP_S * RATE_HZ), message.fields["pts_ns"] / 1e9
        words: list[Guess] = []
        # A long piece is heard step by step, as if it had come so.
        for first in range(0, len(samples), step):
            words += self._stream.push(pts_s + first / RATE_HZ, samples[first : first + step])
        self._send(words, answer)

    def flush(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - the signature of a handler
        """The end of a turn."""
        self._send(self._stream.flush(), answer, endpoint=True)

    def _send(self, words: list[Guess], answer: Answer, *, endpoint: bool = False) -> None:
        stream = self._stream
        send_heard(answer, stream.heard_s, words, stream.tentative, "en", endpoint=endpoint)


def main() -> None:
    """Recognise until the pipe is closed."""
    channel = Channel()
    try:
        moonshine = Moonshine(_open_model())
    except (ImportError, OSError, ValueError) as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    ready = {
        "name": "moonshine tiny-en",
        "licence": "MIT",
        "commercial": True,
        "quality": "good",
        "languages": ["en"],
    }
    serve(channel, ready, {"push": moonshine.push, "flush": moonshine.flush})


if __name__ == "__main__":
    main()
