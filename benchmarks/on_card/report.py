"""The figures of a card as a short table, goals beside them; what was not measured says so."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Body = dict[str, Any]


class Goal(NamedTuple):
    """A line of the table.

    Attributes:
        what: What is measured.
        goal: What it should be.
        read: The figure out of the file; None where it is not there.
        met: Whether a figure is good enough.
        unit: Behind the figure.
    """

    what: str
    goal: str
    read: Callable[[Body], float | None]
    met: Callable[[float], bool]
    unit: str = "ms"


def _kernel(name: str, faces: int, field: str = "p50") -> Callable[[Body], float | None]:
    def read(body: Body) -> float | None:
        rows = (row for row in body.get("kernels", []) if row.get("kernel") == name and row.get("faces") == faces)
        return next((row["ms"][field] for row in rows if "ms" in row), None)

    return read


def _share(faces: int) -> Callable[[Body], float | None]:
    def read(body: Body) -> float | None:
        shares = [
            row["share_of_copy"]
            for row in body.get("kernels", [])
            if row.get("faces") == faces and row.get("share_of_copy") and row["kernel"] != "all of them"
        ]
        return min(shares, default=None)

    return read


def _live(body: Body, name: str) -> Iterator[Body]:
    return (row for row in body.get("live", []) if row["network"] == name and "ticks" in row)


def _tick(name: str, faces: int, field: str, part: str = "ms", kind: str = "ticks") -> Callable[[Body], float | None]:
    def read(body: Body) -> float | None:
        ticks = (tick for row in _live(body, name) for tick in row.get(kind, []) if tick["faces"] == faces)
        return min((tick[part][field] for tick in ticks if part in tick), default=None)

    return read


def _faces_a_second(name: str) -> Callable[[Body], float | None]:
    def read(body: Body) -> float | None:
        rows = (row for row in body.get("networks", []) if row["network"] == name and "faces_s" in row)
        return max((row["faces_s"] for row in rows), default=None)

    return read


def _sessions(name: str) -> Callable[[Body], float | None]:
    def read(body: Body) -> float | None:
        rows = (each for row in _live(body, name) for each in row["sessions"] if each["missed"] == 0)
        return max((each["sessions"] for each in rows), default=None)

    return read


def _on_the_card(body: Body) -> float | None:
    """Time of a 1280x720 picture from its decoder to its encoder, in what it takes where it crosses the bus."""
    rows = {row["name"]: row["ms"]["p50"] for row in body.get("codecs", {}).get("rows", [])}
    way = "1280x720: decode, mark and encode H264"
    crossing, staying = rows.get(f"{way}, in memory"), rows.get(f"{way}, on the card")
    return None if crossing is None or staying is None else staying / crossing


def _filter(body: Body) -> float | None:
    rows = (row for row in body.get("filters", []) if row.get("what") == "frame to frame" and row["frames"] == 1)
    return next((row["ms"]["p50"] for row in rows), None)


def _beside_the_network(body: Body) -> float | None:
    """Kernels' share of the time of the fastest lipgan, for 32 faces of its size."""
    networks = (
        row["ms"]["p50"]
        for row in body.get("networks", [])
        if row["network"] == "lipgan" and row.get("batch") == 32 and "ms" in row
    )
    kernels = (
        row["ms"]["p50"]
        for row in body.get("kernels", [])
        if row.get("kernel") == "all of them" and row.get("faces") == 32 and row.get("crop_px") == 96
    )
    network, around = min(networks, default=None), next(kernels, None)
    return None if network is None or around is None else around / network


GOALS = (
    Goal("kernels, 64 faces of 1080p: share of copy bandwidth, least", ">= 0.70", _share(64), lambda x: x >= 0.7, ""),
    Goal("paste_face, 1 face", "<= 0.1", _kernel("paste_face", 1), lambda x: x <= 0.1),
    Goal("all kernels, 64 faces", "<= 0.5", _kernel("all of them", 64), lambda x: x <= 0.5),
    Goal("kernels' share of the engine's time, 32 faces", "<= 0.05", _beside_the_network, lambda x: x <= 0.05, ""),
    Goal("U-Net-256, frame to frame", "<= 0.6", _filter, lambda x: x <= 0.6),
    Goal("tick of 1 face (lipgan), p99", "<= 2", _tick("lipgan", 1, "p99"), lambda x: x <= 2.0),
    Goal("tick of 64 faces (lipgan), p99", "<= 5", _tick("lipgan", 64, "p99"), lambda x: x <= 5.0),
    Goal("Python for a face, 64 faces, p50", "<= 50", _tick("lipgan", 64, "p50", "python_us"), lambda x: x <= 50, "us"),
    Goal(
        "Python for a face on the card, 64 faces, p50",
        "<= 50",
        _tick("lipgan", 64, "p50", "python_us", "ticks_on_card"),
        lambda x: x <= 50,
        "us",
    ),
    Goal("720p picture that stays on the card, of one that does not", "< 1", _on_the_card, lambda x: x < 1, ""),
    Goal("lipgan faces a second, best batch", ">= 5000", _faces_a_second("lipgan"), lambda x: x >= 5000, "/s"),
    Goal("live 25-fps faces (lipgan), none missed", ">= 100", _sessions("lipgan"), lambda x: x >= 100, ""),
    Goal("live 25-fps faces (lipgan_lite), none missed", ">= 100", _sessions("lipgan_lite"), lambda x: x >= 100, ""),
)


def table_of(body: Body) -> str:
    """The table."""
    width = max(len(goal.what) for goal in GOALS)
    return "\n".join([*(_line(goal, body, width) for goal in GOALS), *_not_measured(body)])


def _line(goal: Goal, body: Body, width: int) -> str:
    value = goal.read(body)
    if value is None:
        return f"{goal.what:{width}}  goal {goal.goal:8} not measured"
    return f"{goal.what:{width}}  goal {goal.goal:8} {value:.3g} {goal.unit} {'met' if goal.met(value) else 'MISSED'}"


def _not_measured(body: Body) -> Iterable[str]:
    reasons: dict[str, str] = {}
    for part in ("networks", "filters", "live"):
        for row in body.get(part, []):
            if "not_measured" in row:
                reasons.setdefault(row["not_measured"], f"{row['network']} {row.get('backend', '')}".strip())
    for each in body.get("codecs", {}).get("not_measured", []):
        reasons.setdefault(each["reason"], each["name"])
    return (f"not measured: {where}: {why}" for why, where in reasons.items())
