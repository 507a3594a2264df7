"""Who says which phone when: forced alignment of recordings whose text is known, and speech that is synthesised.

Phones are the 39 of the CMU pronouncing dictionary without stress, and "SIL".
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.mel import SAMPLE_RATE_HZ
from training.data.clips import MaterialError, read_sound

SILENT = "SIL"
FRAME_S = 0.01
ROOM, ROOM_S = 1e-3, 0.3
ROOM_SAMPLES = round(ROOM_S * SAMPLE_RATE_HZ)
PEAK = 0.7
# What a text says as a word and the dictionary does not know.
SPOKEN = {"%": " percent ", "&": " and "}
ENGLISH = "en"
# By what the lips do first, by what is heard second: the French u is as round as oo.
PHONES_OF_IPA = {
    "P": "p",
    "B": "b",
    "T": "t",
    "D": "d",
    "K": "k c",
    "M": "m",
    "N": "n",
    "F": "f",
    "V": "v β",
    "S": "s",
    "Z": "z",
    "HH": "h ç x χ ʁ",
    "L": "l",
    "W": "w ɥ",
    "G": "ɡ ɣ",
    "NG": "ŋ",
    "SH": "ʃ",
    "ZH": "ʒ",
    "R": "r ɾ ɹ",
    "TH": "θ",
    "DH": "ð",
    "Y": "j",
    "CH": "tʃ",
    "JH": "dʒ",
    "N Y": "ɲ",
    "L Y": "ʎ",
    "AA": "a ɑ",
    "AH": "ɐ ə ʌ",
    "AE": "æ",
    "AO": "ɒ ɔ",
    "EY": "e eɪ",
    "EH": "ɛ",
    "ER": "ɜ",
    "IY": "i",
    "IH": "ɪ",
    "OW": "o oʊ",
    "UW": "u y ø",
    "UH": "ʊ ʏ œ",
    "AY": "aɪ",
    "AW": "aʊ",
    "OY": "ɔɪ ɔø",
}
IPA_PHONES = {sign: phones for phones, signs in PHONES_OF_IPA.items() for sign in signs.split()}
FLITE_PHONES = {"AX": "AH", "AXR": "ER", "IX": "IH", "PAU": SILENT, "H#": SILENT, "BRTH": SILENT}


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone on the sound's time line."""

    name: str
    start_s: float
    end_s: float


def align_phones(samples: NDArray[np.float32], text: str, language: str = ENGLISH) -> list[Phone] | None:
    """Find every phone of a text in its recording, by pocketsphinx's en-us model.

    Args:
        samples: float32 [N] mono, 16 kHz.
        text: What is said.
        language: Of the text, as espeak-ng calls it. A language other than English is pronounced by the espeak-ng
            program and said in the nearest English phones: good enough to find them and to know the lips.

    Returns:
        Phones without gaps, or None where a word cannot be pronounced or the text does not fit the sound.

    Raises:
        MaterialError: pocketsphinx is not installed.

    Source: D. Huggins-Daines et al., "PocketSphinx", ICASSP 2006; the package carries the acoustic model (BSD).
    """
    try:
        from pocketsphinx import Decoder  # type: ignore[import-untyped]
    except ImportError as error:
        raise MaterialError("aligning speech needs pocketsphinx: pip install 'visavis[train]'") from error
    words = spoken_words(text)
    foreign = {} if language == ENGLISH else {word: pronounced(word, language) for word in words}

    def new_decoder() -> Any:  # noqa: ANN401 - the package has no types
        # One for each stretch: one that has failed is of no more use.
        decoder = Decoder(lm=None, loglevel="FATAL")
        for word, phones in foreign.items():
            decoder.add_word(_entry(word), " ".join(phones))
        return decoder

    entries = [_entry(word) if foreign else word for word in words]
    if not words or not all(foreign.values()):
        return None
    dictionary = new_decoder()
    if any(dictionary.lookup_word(each) is None for each in entries):
        return None
    peak = max(float(np.abs(samples).max()), 1e-6)
    return _align(new_decoder, np.asarray(samples * (PEAK / peak), np.float32), entries)


def _entry(word: str) -> str:
    """A foreign word's name in the dictionary, where English has words of the same letters."""
    return f"{word}_foreign"


def _align(new_decoder: Callable[[], Any], samples: NDArray[np.float32], words: list[str]) -> list[Phone] | None:
    """Words first, then the phones inside them; where that fails, each half by itself.

    The second pass sums its scores over the whole recording and loses the path when that sum becomes too long.
    """
    decoder = new_decoder()
    # Speech that fills a recording has no path; a stretch of room goes before and after it.
    room = np.random.default_rng(0).normal(0, ROOM, len(samples) + 2 * ROOM_SAMPLES)
    room[ROOM_SAMPLES : ROOM_SAMPLES + len(samples)] += samples
    pcm = (room * 32767).clip(-32767, 32767).astype(np.int16).tobytes()
    end_s = len(samples) / SAMPLE_RATE_HZ
    decoder.set_align_text(" ".join(words))
    if not _decoded(decoder, pcm) or decoder.hyp() is None:
        return None
    starts_s = [each.start_frame * FRAME_S - ROOM_S for each in decoder.seg() if not each.word.startswith("<")]
    decoder.set_alignment()
    if _decoded(decoder, pcm):
        found = [phone for word in decoder.get_alignment() for phone in word]
        times = [(p.name, p.start * FRAME_S - ROOM_S, (p.start + p.duration) * FRAME_S - ROOM_S) for p in found]
        inside = [each for each in times if each[2] > 0 and each[1] < end_s]
        return [Phone(name, max(first, 0.0), min(last, end_s)) for name, first, last in inside]
    if len(words) == 1 or len(starts_s) != len(words):
        return None
    half = min(range(1, len(words)), key=lambda index: abs(starts_s[index] - end_s / 2))
    cut = round(max(starts_s[half], 0.0) * SAMPLE_RATE_HZ)
    first, second = (
        _align(new_decoder, *each) for each in ((samples[:cut], words[:half]), (samples[cut:], words[half:]))
    )
    if first is None or second is None:
        return None
    cut_s = cut / SAMPLE_RATE_HZ
    return first + [Phone(each.name, each.start_s + cut_s, each.end_s + cut_s) for each in second]


def _decoded(decoder: Any, pcm: bytes) -> bool:  # noqa: ANN401 - the package has no types
    decoder.start_utt()
    try:
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
    except RuntimeError:
        # Its word for: no path through the sound.
        return False
    return True


def spoken_words(text: str) -> list[str]:
    """Lower-case words, without what stands in brackets."""
    text = re.sub(r"\[[^]]*\]", " ", text)
    for sign, word in SPOKEN.items():
        text = text.replace(sign, word)
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'"))


@functools.cache
def pronounced(word: str, language: str) -> tuple[str, ...]:
    """A word in the nearest English phones, empty where espeak-ng has none.

    Raises:
        MaterialError: The espeak-ng program is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise MaterialError("speech in other languages needs the espeak-ng program: apt-get install espeak-ng")
    command = ["espeak-ng", "-q", "--ipa", "-v", language, word]
    ipa = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall("|".join(sorted(IPA_PHONES, key=len, reverse=True)), ipa)
    return tuple(phone for sign in found for phone in IPA_PHONES[sign].split())


def flite_voices() -> list[str]:
    """Voices of the flite program, or none where it is not installed (Debian: apt-get install flite)."""
    if shutil.which("flite") is None:
        return []
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=True).stdout
    # The *_time voice only tells the time; kal is kal16 at half the rate.
    return sorted({name for name in listed.partition(":")[2].split() if name != "kal" and not name.endswith("_time")})


def flite_speech(text: str, voice: str) -> tuple[NDArray[np.float32], list[Phone]]:
    """Speak a text with flite, a separate program whose phone times are exact.

    Returns:
        float32 [N] mono, 16 kHz, and its phones.

    Raises:
        MaterialError: flite cannot speak it.

    Source: A. W. Black and K. Lenzo, "Flite: a small fast run-time synthesis engine", 2001.
    """
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(wav)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode or not wav.is_file():
            raise MaterialError(f"flite cannot speak {text[:40]!r} as {voice}: {ran.stderr.strip()[:200]}")
        samples, _ = read_sound(wav)
    return samples, _flite_phones(ran.stdout)


def _flite_phones(printed: str) -> list[Phone]:
    """Read "name:end name:end ...", ends in seconds from the beginning."""
    phones: list[Phone] = []
    for field in printed.split():
        name, _, end = field.partition(":")
        start_s = phones[-1].end_s if phones else 0.0
        phones.append(Phone(FLITE_PHONES.get(name.upper(), name.upper()), start_s, float(end)))
    return phones
