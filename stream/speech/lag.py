"""How far the dub is behind, and what keeps it there: speed first, then captions without sound."""

from dataclasses import dataclass

from stream.frames import NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class LagConfig:
    """What the dub is held to.

    Attributes:
        target_ms: From the beginning of a clause to that of its dub, where the chain is fast enough; less for a short
            clause that would end too late otherwise.
        max_ms: A clause that would be later is shown as a caption and not spoken.
        end_ms: A clause's dub is to end so long after the clause itself.
        going_ms: And so long where the speaker goes on: a voice that is not waited for need not hurry.
        slowest: Least speed against the voice's own.
        fastest: Greatest speed.
    """

    target_ms: int = 1500
    max_ms: int = 5000
    end_ms: int = 700
    going_ms: int = 1200
    slowest: float = 0.85
    fastest: float = 1.3


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a clause's dub goes.

    Attributes:
        start_ns: Session time of its first sample.
        speed: Against the voice's own.
        lag_ns: From the beginning of the clause to the moment at which its dub is heard.
    """

    start_ns: int
    speed: float
    lag_ns: int


def place(
    config: LagConfig,
    *,
    source_start_ns: int,
    source_end_ns: int,
    duration_ns: int,
    free_ns: int,
    delay_ns: int,
    goes_on: bool = False,
) -> Placement | None:
    """Choose when and how fast a clause is spoken; None when it would be too late.

    Args:
        config: Targets and limits.
        source_start_ns: When the clause begins in the source.
        source_end_ns: When it ends there.
        duration_ns: Of its dub at the voice's own speed.
        free_ns: First session time that is neither past nor taken.
        delay_ns: What the exit adds to session time before it is heard.
        goes_on: Whether more was heard behind the clause.
    """
    end_ms = config.going_ms if goes_on else config.end_ms
    latest_end_ns = source_end_ns + end_ms * NS_PER_MS - delay_ns
    wished_ns = min(source_start_ns + config.target_ms * NS_PER_MS - delay_ns, latest_end_ns - duration_ns)
    start_ns = max(free_ns, wished_ns)
    lag_ns = start_ns + delay_ns - source_start_ns
    if lag_ns > config.max_ms * NS_PER_MS:
        return None
    left_ns = latest_end_ns - start_ns
    return Placement(start_ns, _speed(config, duration_ns, left_ns, source_end_ns - source_start_ns), lag_ns)


def _speed(config: LagConfig, duration_ns: int, left_ns: int, source_ns: int) -> float:
    """Fast enough to end in time; slower than the voice's own only where the source itself takes longer."""
    if left_ns <= 0:
        return config.fastest
    needed = duration_ns / left_ns
    if needed < 1.0:
        needed = min(1.0, max(needed, duration_ns / max(source_ns, 1)))
    return min(config.fastest, max(config.slowest, needed))
