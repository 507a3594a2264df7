"""Captions as files: WebVTT (W3C) and SubRip, in cues that a viewer can read."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.frames import NS_PER_MS

_LINE = 42
_LINES = 2
_SHORTEST_NS = 500 * NS_PER_MS
_NOTE = "Made by a machine: recognised, translated and spoken without a person's check."


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and when it is shown.

    Attributes:
        start_ns: On the timeline of the file or session.
        end_ns: Where it would end by itself; shown half a second at least, never into the next one.
        language: BCP 47 tag.
    """

    start_ns: int
    end_ns: int
    text: str
    language: str


def web_vtt(captions: Iterable[Caption]) -> str:
    """The captions as a WebVTT file."""
    cues = [f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n" for start, end, text in _cues(captions)]
    return "\n".join(["WEBVTT\n", f"NOTE {_NOTE}\n", *cues])


def sub_rip(captions: Iterable[Caption]) -> str:
    """The captions as a SubRip file."""
    cues = enumerate(_cues(captions), 1)
    return "\n".join(f"{n}\n{_time(start, ',')} --> {_time(end, ',')}\n{text}\n" for n, (start, end, text) in cues)


def _cues(captions: Iterable[Caption]) -> Iterator[tuple[int, int, str]]:
    """Start, end and at most two lines each; in order, without overlap, a long text in several cues."""
    ordered = sorted((each for each in captions if each.text.strip()), key=lambda each: each.start_ns)
    for index, caption in enumerate(ordered):
        end_ns = max(caption.end_ns, caption.start_ns + _SHORTEST_NS)
        if index + 1 < len(ordered):
            end_ns = min(end_ns, ordered[index + 1].start_ns)
        if end_ns > caption.start_ns:
            yield from _split(caption.start_ns, end_ns, caption.text)


def _split(start_ns: int, end_ns: int, text: str) -> Iterator[tuple[int, int, str]]:
    lines = textwrap.wrap(" ".join(text.split()), _LINE)
    pages = ["\n".join(lines[first : first + _LINES]) for first in range(0, len(lines), _LINES)]
    total, said = sum(map(len, pages)), 0
    for page in pages:
        begin_ns = start_ns + (end_ns - start_ns) * said // total
        said += len(page)
        yield begin_ns, start_ns + (end_ns - start_ns) * said // total, page


def _time(ns: int, point: str) -> str:
    ms = max(0, ns) // NS_PER_MS
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{point}{ms % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
