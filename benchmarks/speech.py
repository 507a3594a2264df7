"""How well the speech back ends hear and translate: word error rate as a stream, BLEU and chrF, on public material.

`python -m benchmarks run speech --material FOLDER`. A recogniser is fed as live: 20 ms at a time, and its committed
words alone count. Commit lags are against the recogniser's own word times, which are guesses, and leave out the time
of its answer, which stands beside them. Whisper is measured where its models were fetched.
"""

import argparse
import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.faces import MATERIAL
from benchmarks.harness import RESULTS, percentiles, write_result
from stream.clock import MonotonicClock
from stream.errors import ConfigError
from stream.frames import AudioChunk
from stream.media import decode_sound
from stream.speech.apertium import APERTIUM
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.host import Program
from stream.speech.moonshine import MOONSHINE
from stream.speech.protocol import Clause, Recogniser, Recognition, Translator, Word
from stream.speech.recognise import RATE_HZ, ProcessRecogniser
from stream.speech.sentence import SentenceTranslator
from stream.speech.store import models_folder
from stream.speech.translate import ProcessTranslator
from stream.speech.whisper import NAMES, whisper, whisper_folder

_JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
_CHUNK = RATE_HZ // 50
_MULTILINGUAL = "whisper-base"
_PACE_NS = 300_000_000
_PARTS = ("english", "german", "into-english", "text")


def kit(material: Path) -> Iterator[tuple[str, Path, str]]:
    """Group, sound and text of the English recordings whose words are known."""
    speech = material / "speech"
    yield "jfk", speech / "jfk.flac", _JFK
    for line in (speech / "ljspeech" / "metadata.csv").read_text().splitlines():
        name, _, text = line.split("|")
        if (path := speech / "ljspeech" / f"{name}.flac").is_file():
            yield "ljspeech", path, text
    for listing in sorted((speech / "pocketsphinx" / "librivox").glob("*transcription*")):
        for line in listing.read_text().splitlines():
            if found := re.match(r"<s> (.*) </s> \((.*)\)", line):
                yield "librivox", listing.with_name(f"{found[2]}.wav"), found[1]


def plain(text: str) -> list[str]:
    """Words without case and punctuation."""
    return re.sub(r"[^\w' ]", " ", text.lower().replace("-", " ")).replace("'", "").split()


def errors(reference: list[str], found: list[str]) -> int:
    """Words substituted, left out and put in: the least number."""
    row = list(range(len(found) + 1))
    for index, word in enumerate(reference, 1):
        before, row = row, [index]
        for place, other in enumerate(found):
            row.append(min(before[place] + (word != other), before[place + 1] + 1, row[place] + 1))
    return row[-1]


def german(material: Path, every: int) -> Iterator[tuple[Path, str, str]]:
    """Sound, German text and English reference of every so many of the recordings, from the first one on."""
    folder = material / "speech" / "iwslt_de"
    for line in (folder / "subset2.tsv").read_text().splitlines()[1::every]:
        name, text, english = line.split("\t")
        yield folder / name, text.replace("[pause]", " "), english


@dataclass(frozen=True, slots=True)
class Listening:
    """What a recogniser made of one recording.

    Attributes:
        text: All that it committed.
        languages: That it named.
        lags_s: From the end of a word, as it says itself, to the end of the sound with which it committed it; words
            that the end of the recording committed are left out.
        answers_ms: How long the pushes took that committed words.
    """

    text: str
    languages: frozenset[str]
    lags_s: tuple[float, ...]
    answers_ms: tuple[float, ...]
    seconds: float


def listen(recogniser: Recogniser, path: Path, from_s: float) -> Listening:
    """Feed a recording as live, 20 ms at a time."""
    samples = decode_sound(path, path.name, rate_hz=RATE_HZ)
    events: list[Recognition] = []
    lags_s: list[float] = []
    answers_ms: list[float] = []
    for first in range(0, len(samples), _CHUNK):
        begun_ns = time.perf_counter_ns()
        pts_ns = round((from_s + first / RATE_HZ) * 1e9)
        heard = recogniser.push(AudioChunk(pts_ns, RATE_HZ, samples[first : first + _CHUNK]))
        lags_s += [(event.heard_ns - word.end_ns) / 1e9 for event in heard for word in event.committed]
        answers_ms += [(time.perf_counter_ns() - begun_ns) / 1e6] if any(event.committed for event in heard) else []
        events += heard
    events += recogniser.flush()
    text = " ".join(word.text for event in events for word in event.committed)
    languages = frozenset(event.language for event in events if event.language and event.committed)
    return Listening(text, languages, tuple(lags_s), tuple(answers_ms), len(samples) / RATE_HZ)


def hear(program: Program, recordings: Iterable[tuple[str, Path, str]]) -> dict[str, Any]:
    """Word error rate and commit lag by group."""
    recogniser = ProcessRecogniser(program, MonotonicClock())
    name = recogniser.caps.name
    groups: dict[str, list[int]] = {}
    all_heard: list[Listening] = []
    before_s, begun_s = _children_s(), time.perf_counter()
    for group, path, text in recordings:
        # Each recording begins a minute later than the one before: none is the other's context.
        heard = listen(recogniser, path, 60.0 * len(all_heard))
        counted = groups.setdefault(group, [0, 0])
        counted[0] += errors(plain(text), plain(heard.text))
        counted[1] += len(plain(text))
        all_heard.append(heard)
    used_s, wall_s = _children_s() - before_s, time.perf_counter() - begun_s
    recogniser.close()
    media_s = sum(heard.seconds for heard in all_heard)
    wrong, words = (sum(each[index] for each in groups.values()) for index in (0, 1))
    lag = percentiles([lag for heard in all_heard for lag in heard.lags_s])
    answer = percentiles([ms for heard in all_heard for ms in heard.answers_ms])
    return {
        "recogniser": name,
        "recordings": len(all_heard),
        "languages": sorted({language for heard in all_heard for language in heard.languages}),
        "seconds": round(media_s, 1),
        "words": words,
        "wer_percent": round(100 * wrong / words, 2),
        "wer_percent_by_group": {group: round(100 * each[0] / each[1], 2) for group, each in groups.items()},
        "commit_lag_s": {"p50": lag.p50, "p95": lag.p95},
        "commit_answer_ms": {"p50": answer.p50, "p95": answer.p95},
        "cpu_rtf": round(used_s / media_s, 3),
        "wall_rtf": round(wall_s / media_s, 3),
    }


def into_english(program: Program, recordings: Sequence[tuple[Path, str, str]]) -> dict[str, Any]:
    """BLEU and chrF of a recogniser that translates German speech into English."""
    import sacrebleu

    recogniser = ProcessRecogniser(program, MonotonicClock())
    name, before_s = recogniser.caps.name, _children_s()
    heard = [listen(recogniser, path, 60.0 * index) for index, (path, *_) in enumerate(recordings)]
    used_s = _children_s() - before_s
    recogniser.close()
    made, references = [each.text for each in heard], [english for *_, english in recordings]
    lag = percentiles([lag for each in heard for lag in each.lags_s])
    return {
        "recogniser": name,
        "recordings": len(heard),
        "bleu": round(sacrebleu.corpus_bleu(made, [references]).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(made, [references]).score, 2),
        "commit_lag_s": {"p50": lag.p50, "p95": lag.p95},
        "cpu_rtf": round(used_s / sum(each.seconds for each in heard), 3),
    }


def _children_s() -> float:
    return sum(sum(each.cpu_times()[:2]) for each in psutil.Process().children(recursive=True))


def clauses_of(line: str, in_view: int = 0) -> list[Clause]:
    """A line as clauses, closed as live by their words and punctuation; the times are an even pace.

    Args:
        line: A text.
        in_view: Words behind each word that are guessed, rightly, when it is known.
    """
    splitter = ClauseSplitter(ClauseConfig(), "en")
    words = [Word(text, at * _PACE_NS, (at + 1) * _PACE_NS) for at, text in enumerate(line.split())]
    clauses = []
    for at, word in enumerate(words, 1):
        clauses += splitter.add(Recognition(word.end_ns, (word,), tuple(words[at : at + in_view])))
    return [*clauses, *splitter.add(Recognition(len(words) * _PACE_NS, endpoint=True))]


def in_clauses(translator: Translator, lines: Sequence[str], in_view: int = 0) -> list[str]:
    """Each line translated clause by clause, into Spanish."""
    return [" ".join(translator.translate(each, "es").text for each in clauses_of(line, in_view)) for line in lines]


def _score(made: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    import sacrebleu

    return {
        "bleu": round(sacrebleu.corpus_bleu(made, [references]).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(made, [references]).score, 2),
    }


def translate(material: Path) -> dict[str, Any]:
    """BLEU and chrF of English to Spanish: whole lines, and clauses alone and in their sentence."""
    folder = material / "text" / "isometric_mt" / "isometric-mt-test" / "en-es"
    sources = (folder / "test.en").read_text().splitlines()
    references = (folder / "test.es").read_text().splitlines()
    translator = ProcessTranslator(APERTIUM, MonotonicClock())
    name, made, spent_ms = translator.caps.name, [], []
    translator.translate(Clause(0, "en", (Word("Hello", 0, 1),)), "es")
    for index, text in enumerate(sources, 1):
        begun = time.perf_counter_ns()
        made.append(translator.translate(Clause(index, "en", (Word(text, 0, 1),)), "es").text)
        spent_ms.append((time.perf_counter_ns() - begun) / 1e6)
    alone = in_clauses(translator, sources)
    # A line of its own for each: none goes on from the one before it.
    in_sentence = {
        str(in_view): [t for line in sources for t in in_clauses(SentenceTranslator(translator), [line], in_view)]
        for in_view in (0, 1, 2)
    }
    translator.close()
    spread = percentiles(spent_ms)
    return {
        "translator": name,
        "sentences": len(sources),
        **_score(made, references),
        "clauses": {
            "at_most_words": ClauseConfig().max_words,
            "alone": _score(alone, references),
            "in_their_sentence_by_words_in_view": {n: _score(texts, references) for n, texts in in_sentence.items()},
        },
        "length_ratio": round(float(np.sum([len(each) for each in made]) / np.sum([len(each) for each in sources])), 3),
        "ms": {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99},
    }


def recognisers(folder: Path) -> dict[str, Path | None]:
    """Those that are here, by name, and where their models lie; Moonshine's come with its package."""
    found: dict[str, Path | None] = {MOONSHINE.name: None}
    for name in NAMES:
        # One that is not fetched is not measured; a name that is asked for is refused further on.
        with contextlib.suppress(ConfigError):
            found[name] = whisper_folder(name, folder)
    return found


def _heard(found: Mapping[str, Path | None], names: Sequence[str], material: Path) -> list[dict[str, Any]]:
    programs = [MOONSHINE if (folder := found[name]) is None else whisper(folder, language="en") for name in names]
    return [hear(program, kit(material)) for program in programs]


def _measured(asked: argparse.Namespace, found: Mapping[str, Path | None]) -> dict[str, Any]:
    names = [asked.recogniser] if asked.recogniser else list(found)
    body: dict[str, Any] = {}
    if "english" in asked.parts:
        body["hear"] = _heard(found, names, asked.material)
    if (base := found.get(_MULTILINGUAL)) is not None and _MULTILINGUAL in names:
        recordings = list(german(asked.material, asked.every))
        if "german" in asked.parts:
            body["hear_german"] = hear(whisper(base, language=None), (("iwslt", *each[:2]) for each in recordings))
        if "into-english" in asked.parts:
            body["into_english"] = into_english(whisper(base, language=None, translate=True), recordings)
    if "text" in asked.parts:
        body["translate"] = translate(asked.material)
    return body


def _tell_heard(heard: Mapping[str, Any]) -> None:
    lag, answer = heard["commit_lag_s"], heard["commit_answer_ms"]
    print(f"{heard['recogniser']}, {heard['languages']}: {heard['wer_percent']} % of {heard['words']} words wrong")
    print(f"  {heard['wer_percent_by_group']}")
    print(f"  commit lag p50 {lag['p50']:.2f} p95 {lag['p95']:.2f} s, {heard['cpu_rtf']} core")
    print(f"  answers that commit p50 {answer['p50']:.0f} p95 {answer['p95']:.0f} ms")


def _tell(body: Mapping[str, Any]) -> None:
    for heard in [*body.get("hear", ()), *([body["hear_german"]] if "hear_german" in body else ())]:
        _tell_heard(heard)
    if spoken := body.get("into_english"):
        print(f"{spoken['recogniser']}, German to English: BLEU {spoken['bleu']} chrF {spoken['chrf']}")
        print(f"  commit lag {spoken['commit_lag_s']}, {spoken['cpu_rtf']} core")
    if translated := body.get("translate"):
        print(f"{translated['translator']}: BLEU {translated['bleu']} chrF {translated['chrf']}, {translated['ms']}")
        print(f"  in clauses: {translated['clauses']}")


def main(argv: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run speech", description=__doc__)
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    parser.add_argument("--recogniser", choices=[MOONSHINE.name, *NAMES], help="this one alone; all that are here")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS, help="what is measured; all")
    parser.add_argument("--every", type=int, default=8, help="so many German recordings are passed by for one; 8")
    asked = parser.parse_args(argv)
    if not asked.material.is_dir():
        print(f"there is no material at {asked.material}: name its folder with --material")
        return 2
    found = recognisers(models_folder(os.environ))
    if asked.recogniser and asked.recogniser not in found:
        print(f"{asked.recogniser} was not fetched: visavis models get {asked.recogniser}")
        return 2
    body = _measured(asked, found)
    _tell(body)
    # A run of some of it leaves the figures of a whole run as they are.
    some = [] if len(asked.parts) == len(_PARTS) else asked.parts
    print(write_result("-".join(["speech", *([asked.recogniser] if asked.recogniser else []), *some]), body, RESULTS))
    return 0
