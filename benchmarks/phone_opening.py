"""What the phones of a voice ask of a mouth: how far it should be open when, and when it must be shut.

Times are those of the speaker that made the sound, eSpeak NG for one, so nothing is recognised here. The opening is
that of the articulation model before any fit, on the nearest English phones.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import GRID_S, Curve
from stream.frames import NS_PER_S
from stream.speech.protocol import Phone
from training.clip_figures import BILABIALS
from training.data import phones as lips
from training.data.articulation import prior

# Before the first phone and behind the last, where the mouth is at rest.
_REST_S = 1.0
# Shorter gaps are rounding between two phones.
_GAP_S = 0.005
_SIGNS = re.compile("|".join(sorted(lips.IPA_PHONES, key=len, reverse=True)))


def mouth_phones(ipa: str) -> list[str]:
    """A phone as one or more of the articulation model's; an unknown one counts as a neutral vowel."""
    if not ipa:
        return [lips.SILENT]
    return [name for sign in _SIGNS.findall(ipa) for name in lips.IPA_PHONES[sign].split()] or ["AH"]


def said(phones: Sequence[Phone]) -> list[lips.Phone]:
    """Phones in order as the articulation model takes them: without gaps, with rest before and behind.

    Raises:
        ValueError: There are none.
    """
    if not phones:
        raise ValueError("no phones: the voice gives no phone times")
    first_s = phones[0].start_ns / NS_PER_S
    row = [lips.Phone(lips.SILENT, first_s - _REST_S, first_s)]
    for phone in phones:
        start_s, names = phone.start_ns / NS_PER_S, mouth_phones(phone.ipa)
        if start_s - row[-1].end_s > _GAP_S:
            row.append(lips.Phone(lips.SILENT, row[-1].end_s, start_s))
        step_s = (phone.end_ns - phone.start_ns) / NS_PER_S / len(names)
        row += [lips.Phone(name, start_s + k * step_s, start_s + (k + 1) * step_s) for k, name in enumerate(names)]
    return [*row, lips.Phone(lips.SILENT, row[-1].end_s, row[-1].end_s + _REST_S)]


def opening_of(row: Sequence[lips.Phone]) -> Curve:
    """Times in seconds, and how far a mouth that says this is open."""
    times_s = np.arange(row[0].start_s, row[-1].end_s, GRID_S)
    return times_s, prior().track(row, times_s)[:, 0].astype(np.float64)


def shut_spans_ns(row: Sequence[lips.Phone]) -> NDArray[np.int64]:
    """First and last instant of every m, b and p, int64 [n, 2]."""
    spans = [(each.start_s * NS_PER_S, each.end_s * NS_PER_S) for each in row if each.name in BILABIALS]
    return np.array(spans, np.float64).reshape(-1, 2).round().astype(np.int64)
