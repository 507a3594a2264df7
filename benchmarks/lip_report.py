"""What the lips benchmark prints: its figures as lines of text, the same that its JSON holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.lip_meters import Sync


def say_clip(name: str, windows: Sequence[Sync]) -> None:
    """Offset and confidence of every window of a clip."""
    told = ", ".join(f"{each.offset_ms:+.0f} ({each.confidence:.2f})" for each in windows)
    print(f"  {name}: {told or 'no window speaks'}", flush=True)


def spread(body: Mapping[str, Any]) -> str:
    """Signed offsets, and their sizes."""
    if "offset_ms" not in body:
        return "none"
    signed, sizes = body["offset_ms"], body["absolute_ms"]
    sized = f"of the size {sizes['p50']:.1f}, p95 {sizes['p95']:.1f}"
    return f"median {signed['p50']:+.1f} ms, {sized}, n {signed['count']}"


def say(body: Mapping[str, Any]) -> None:
    """All about the clips of one mode."""
    expert = body["expert"]
    print(f"expert, {expert['sure']} of {expert['windows']} windows surer than chance: {spread(expert)}")
    print(f"  all windows: {spread(expert['all_windows'])}")
    near, wrong = (_share(each["within_40_ms"]) for each in (expert, expert["wrong_dub"]))
    print(f"  within 40 ms: {near}; with another dub {wrong}")
    for shift, each in expert["shifted"].items():
        print(f"  dub {shift}: {spread(each)}; error of the meter {spread(each['meter_error_ms'])}")
    if "phones" in body:
        _say_phones(body)


def _say_phones(body: Mapping[str, Any]) -> None:
    phones, shut, faulty = body["phones"], body["shut"], body["faulty"]
    print(f"phones: {_told(phones)}")
    print(f"  with another dub: {_told(phones['wrong_dub'])}")
    for shift, each in phones["shifted"].items():
        print(f"  dub {shift}: {_told(each)}")
    print(f"shut on m, b, p: {shut['shut']:.2f} of {shut['phones']}, by chance {shut['by_chance']:.2f}")
    print(f"lips made {faulty['lips_late_ms']} ms late, {faulty['clip']}: {spread(faulty)}")


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _told(body: Mapping[str, Any] | None) -> str:
    if body is None:
        return "none"
    interval = f"[{body['low_ms']:+.0f}, {body['high_ms']:+.0f}]"
    return f"{body['offset_ms']:+.1f} ms {interval}, alike {body['alike']:.2f}, {body['windows']} windows"


def say_floor(group: str, body: Mapping[str, Any]) -> None:
    """What the meters say of one group of real clips."""
    print(f"floor, {group}: expert {spread(body)}; within 40 ms {_share(body['within_40_ms'])}")
    shut = body["shut"]
    print(f"  confidence {body['confidence']['p50']:.2f}; phones {_told(body['phones'])}")
    print(f"  shut on m, b, p: {shut['shut']:.2f} of {shut['phones']}, by chance {shut['by_chance']:.2f}", flush=True)
