"""What a machine listener understands of a dub: `python -m benchmarks run round_trip [--group recorded|spoken|all]`.

English goes through the chain of `visavis dub --to es`; the sound of the whole dub is recognised again, in Spanish, by
Whisper base (`visavis models get whisper-base`). What it heard is held against

spoken text   what the voice was given to say: how well the voice, at the speed that it was fitted to, is understood;
references    a translator's sentences, where there are some: ASR-BLEU of the whole chain.

`recorded` is real speech. `spoken` takes written sentences that have a reference, and flite speaks them: its source is
synthetic. Scores are sacreBLEU's over the whole corpus, of words in lower case without punctuation.
"""

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.faces import MATERIAL
from benchmarks.harness import percentiles, write_result
from benchmarks.speech import errors, kit
from kernels.mel import LIPGAN_WINDOW
from stream.clock import MonotonicClock
from stream.errors import ConfigError
from stream.frames import NS_PER_S
from stream.media import decode_sound, resample
from stream.speech.back_ends import EMBEDDED
from stream.speech.chain import Chain, open_chain
from stream.speech.model_list import MODELS
from stream.speech.offline import HEARING_RATE_HZ, recognise, speak
from stream.speech.store import models_folder, verified
from stream.voice import EAR_RATE_HZ
from training.data.phones import flite_speech

Samples = NDArray[np.float32]

EAR = "whisper-base"
TARGET = "es"
_VOICE = "slt"
_AFTER_NS = NS_PER_S // 2
_PAUSE = np.zeros(HEARING_RATE_HZ * 3 // 10, np.float32)


class Ear(Protocol):
    """Recognises a whole recording."""

    def hear(self, samples: Samples) -> str:
        """The words of float32 [n] at 16 kHz."""
        ...


class WhisperEar:
    """Whisper base in one language, greedy, nothing carried from one recording to the next.

    Args:
        folder: Of the model, verified.
        language: BCP 47 tag.

    Raises:
        ConfigError: faster-whisper, which hears whole recordings with more care than the product's stream, is missing.
    """

    def __init__(self, folder: Path, language: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise ConfigError("this benchmark hears with faster-whisper: pip install faster-whisper==1.2.1") from None

        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
        self._language = language

    def hear(self, samples: Samples) -> str:
        """See `Ear.hear`."""
        # Of sound that it does not understand Whisper repeats itself without end. Its own remedy, to try again at
        # higher temperatures, is drawn at random and five times the work; here no three tokens may come twice.
        segments, _ = self._model.transcribe(
            samples,
            language=self._language,
            beam_size=1,
            temperature=0.0,
            no_repeat_ngram_size=3,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)


@dataclass(frozen=True, slots=True)
class Trip:
    """One recording, there and back.

    Attributes:
        reference: A translator's sentence; empty where there is none.
        spoken: What the voice was given to say.
        heard: What was understood of the dub.
        plainly: What was understood of the voice at its own speed, where that was asked for.
        speeds: Of each clause, against the voice's own.
    """

    reference: str
    spoken: str
    heard: str
    plainly: str
    speeds: tuple[float, ...]


def round_trip(samples: Samples, chain: Chain, ear: Ear, *, reference: str = "", plainly: bool = False) -> Trip:
    """Dub a recording, and listen to the dub; all empty where nothing was understood.

    Args:
        samples: float32 [n] at 16 kHz, English.
        chain: Left open.
        ear: Listens to the dub.
        reference: What it should say.
        plainly: Listen also to the voice at its own speed.
    """
    heard = recognise(samples, "en", chain.recogniser)
    dub = speak(
        heard.clauses,
        TARGET,
        chain.translators[TARGET],
        chain.speaker,
        window=LIPGAN_WINDOW,
        end_ns=len(samples) * NS_PER_S // HEARING_RATE_HZ,
        level=heard.level,
    )
    if not dub.lines:
        return Trip(reference, "", "", "", ())
    count = (dub.track.end_ns + _AFTER_NS) * EAR_RATE_HZ // NS_PER_S
    whole = resample(dub.track.audio(0, count), EAR_RATE_HZ, HEARING_RATE_HZ)
    spoken = " ".join(line.text for line in dub.lines)
    own_speed = [part for line in dub.lines for part in (_PAUSE, said(chain, line.clause.clause_id, line.text))]
    heard_plainly = ear.hear(np.concatenate([*own_speed, _PAUSE])) if plainly else ""
    return Trip(reference, spoken, ear.hear(whole), heard_plainly, tuple(line.speed for line in dub.lines))


def said(chain: Chain, clause_id: int, text: str) -> Samples:
    """A clause in the voice's own speed, float32 [n] at 16 kHz."""
    chunks = list(chain.speaker.speak(clause_id, text, TARGET))
    return resample(np.concatenate([each.samples for each in chunks]), chunks[0].sample_rate_hz, HEARING_RATE_HZ)


def plain(text: str) -> str:
    """Words in lower case, accents kept, without punctuation."""
    return " ".join(re.findall(r"\w+", text.lower().replace("'", "")))


def scores(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """BLEU, chrF and word error rate of `found` over the whole corpus, in percent."""
    import sacrebleu

    found, wanted = [plain(each) for each in found], [plain(each) for each in wanted]
    wrong = sum(errors(a.split(), b.split()) for a, b in zip(wanted, found, strict=True))
    return {
        "bleu": round(sacrebleu.corpus_bleu(found, [wanted], tokenize="none", force=True).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(found, [wanted]).score, 2),
        "wer_percent": round(100 * wrong / max(1, sum(len(each.split()) for each in wanted)), 2),
    }


def account(trips: Sequence[Trip]) -> dict[str, Any]:
    """Scores of many; the control holds each dub against what the next one was given to say."""
    spoken = [each.spoken for each in trips]
    heard = [each.heard for each in trips]
    references = [each.reference for each in trips]
    body: dict[str, Any] = {
        "recordings": len(trips),
        "without_dub": sum(not each.spoken for each in trips),
        "words_spoken": sum(len(plain(each).split()) for each in spoken),
        "heard_against_spoken": scores(heard, spoken),
        "control_against_the_next": scores(heard, [*spoken[1:], spoken[0]]),
    }
    if speeds := [speed for each in trips for speed in each.speeds]:
        spread = percentiles(speeds)
        body["speed"] = {"p50": spread.p50, "p95": spread.p95, "max": spread.max}
    if any(each.plainly for each in trips):
        body["at_its_own_speed_against_spoken"] = scores([each.plainly for each in trips], spoken)
    if any(references):
        body["heard_against_reference"] = scores(heard, references)
        body["spoken_against_reference"] = scores(spoken, references)
    return body


def recorded(material: Path) -> Iterable[tuple[Samples, str]]:
    """Real English speech; nobody has translated it."""
    for _, path, _ in kit(material):
        yield decode_sound(path, path.name, rate_hz=HEARING_RATE_HZ), ""


def synthetic(material: Path, count: int) -> Iterable[tuple[Samples, str]]:
    """Sentences evenly out of the test set, spoken by flite, and their translations."""
    folder = material / "text" / "isometric_mt" / "isometric-mt-test" / "en-es"
    pairs = list(
        zip((folder / "test.en").read_text().splitlines(), (folder / "test.es").read_text().splitlines(), strict=True)
    )
    for index in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int):
        text, reference = pairs[index]
        yield flite_speech(text, _VOICE)[0], reference


def report(name: str, body: Mapping[str, Any]) -> str:
    """One group as text."""
    lines = [f"{name}: {body['recordings']} recordings, {body['words_spoken']} words spoken"]
    lines += [
        f"  {kind.replace('_', ' ')}: BLEU {each['bleu']}, chrF {each['chrf']}, WER {each['wer_percent']} %"
        for kind, each in body.items()
        if isinstance(each, dict) and "bleu" in each
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run round_trip", description=__doc__)
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    parser.add_argument("--group", choices=("recorded", "spoken", "all"), default="all")
    parser.add_argument("--sentences", type=int, default=40, help="how many of the 200 written ones are spoken")
    asked = parser.parse_args(list(argv))
    try:
        ear = WhisperEar(verified(EAR, models_folder(os.environ), MODELS), TARGET)
    except ConfigError as error:
        print(f"nobody listens to the dub: {error}")
        return 2
    groups = {"recorded": recorded(asked.material), "spoken": synthetic(asked.material, asked.sentences)}
    chain = open_chain("en", [TARGET], MonotonicClock(), EMBEDDED)
    body: dict[str, Any] = {"ear": EAR, "voice": chain.speaker.caps.name, "source_voice_of_spoken": f"flite {_VOICE}"}
    for name, sounds in groups.items():
        if asked.group in (name, "all"):
            # Without a reference the voice is what is asked about: its speed is told apart from it.
            trips = [round_trip(samples, chain, ear, reference=text, plainly=not text) for samples, text in sounds]
            body[name] = {**account(trips), "examples": [[each.spoken, each.heard, each.plainly] for each in trips[:5]]}
            print(report(name, body[name]), flush=True)
    chain.close()
    print(write_result("round_trip" if asked.group == "all" else f"round_trip_{asked.group}", body))
    return 0
