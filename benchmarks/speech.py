"""How well the speech back ends hear and translate: word error rate as a stream, BLEU and chrF, on public material.

`python -m benchmarks run speech --material FOLDER`. The recogniser is fed as live: 20 ms at a time, through voice
activity, its committed words alone count. Commit lags are against the recogniser's own word times, which are guesses.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.faces import MATERIAL
from benchmarks.harness import RESULTS, percentiles, write_result
from stream.clock import MonotonicClock
from stream.frames import AudioChunk
from stream.media import decode_sound
from stream.speech.apertium import APERTIUM
from stream.speech.moonshine import MOONSHINE
from stream.speech.protocol import Clause, Recognition, Word
from stream.speech.recognise import RATE_HZ, ProcessRecogniser
from stream.speech.translate import ProcessTranslator

_JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
_CHUNK = RATE_HZ // 50


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
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).replace("'", "").split()


def errors(reference: list[str], found: list[str]) -> int:
    """Words substituted, left out and put in: the least number."""
    row = list(range(len(found) + 1))
    for index, word in enumerate(reference, 1):
        before, row = row, [index]
        for place, other in enumerate(found):
            row.append(min(before[place] + (word != other), before[place + 1] + 1, row[place] + 1))
    return row[-1]


def hear(material: Path) -> dict[str, Any]:
    """Word error rate and commit lag by group."""
    recogniser = ProcessRecogniser(MOONSHINE, MonotonicClock())
    name = recogniser.caps.name
    groups: dict[str, list[int]] = {}
    lags_s: list[float] = []
    media_s, before_s, begun_s = 0.0, _children_s(), time.perf_counter()
    for group, path, text in kit(material):
        samples = decode_sound(path, path.name, rate_hz=RATE_HZ)
        events: list[Recognition] = []
        for first in range(0, len(samples), _CHUNK):
            events += recogniser.push(AudioChunk(first * 10**9 // RATE_HZ, RATE_HZ, samples[first : first + _CHUNK]))
        lags_s += [(event.heard_ns - word.end_ns) / 1e9 for event in events for word in event.committed]
        events += recogniser.flush()
        found = plain(" ".join(word.text for event in events for word in event.committed))
        counted = groups.setdefault(group, [0, 0])
        counted[0] += errors(plain(text), found)
        counted[1] += len(plain(text))
        media_s += len(samples) / RATE_HZ
    used_s, wall_s = _children_s() - before_s, time.perf_counter() - begun_s
    recogniser.close()
    wrong, words = (sum(each[index] for each in groups.values()) for index in (0, 1))
    spread = percentiles(lags_s)
    return {
        "recogniser": name,
        "seconds": round(media_s, 1),
        "words": words,
        "wer_percent": round(100 * wrong / words, 2),
        "wer_percent_by_group": {group: round(100 * each[0] / each[1], 2) for group, each in groups.items()},
        "commit_lag_s": {"p50": spread.p50, "p95": spread.p95},
        "cpu_rtf": round(used_s / media_s, 3),
        "wall_rtf": round(wall_s / media_s, 3),
    }


def _children_s() -> float:
    return sum(sum(each.cpu_times()[:2]) for each in psutil.Process().children(recursive=True))


def translate(material: Path) -> dict[str, Any]:
    """BLEU and chrF of English to Spanish."""
    import sacrebleu

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
    translator.close()
    spread = percentiles(spent_ms)
    return {
        "translator": name,
        "sentences": len(sources),
        "bleu": round(sacrebleu.corpus_bleu(made, [references]).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(made, [references]).score, 2),
        "length_ratio": round(float(np.sum([len(each) for each in made]) / np.sum([len(each) for each in sources])), 3),
        "ms": {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99},
    }


def main(argv: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run speech", description=__doc__)
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    asked = parser.parse_args(argv)
    if not asked.material.is_dir():
        print(f"there is no material at {asked.material}: name its folder with --material")
        return 2
    body = {"hear": hear(asked.material), "translate": translate(asked.material)}
    heard, translated = body["hear"], body["translate"]
    lag = heard["commit_lag_s"]
    print(f"{heard['recogniser']}: {heard['wer_percent']} % of {heard['words']} words wrong")
    print(f"  {heard['wer_percent_by_group']}")
    print(f"  commit lag p50 {lag['p50']:.2f} p95 {lag['p95']:.2f} s, {heard['cpu_rtf']} core")
    print(f"{translated['translator']}: BLEU {translated['bleu']} chrF {translated['chrf']}, {translated['ms']}")
    print(write_result("speech", body, RESULTS))
    return 0
