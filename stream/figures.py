"""What is told about a session, one flat account in milliseconds made twice a second, and about the engine."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stream.frames import NS_PER_MS
from stream.health import LoopLagMonitor
from stream.load import LoadFigures
from stream.session import Session
from stream.stages import StageFigures


def session_figures(session: Session, lag: LoopLagMonitor) -> dict[str, Any]:
    """The state of a session as JSON takes it.

    `frames.late` counts pictures that were ready after their deadline,
    `frames.dropped` those that newer ones overtook or that came out too late to
    be sent, `frames.passed` those that left unchanged, by reason. `latency_ms`
    is the time from decoded to ready to leave, without the configured delay.
    """
    peer = session.peer.stats()
    stages = {**peer.stages, "faces": session.faces.meter.figures(), "render": session.render.meter.figures()}
    filtered = session.filtering.runner.meter.figures()
    if filtered.count:
        stages["filter"] = filtered
    offset = peer.av_offset
    return {
        "mode": session.mode.value,
        "delay_ms": session.peer.delay_ns / NS_PER_MS,
        "stages": {name: _stage(figures) for name, figures in stages.items()},
        "frames": {
            "received": peer.received,
            "dropped": peer.dropped + session.overtaken + peer.late + peer.replaced,
            "late": session.playout.late,
            "sent": peer.sent,
            "passed": session.passed,
        },
        "av_offset_ms": {
            "p50": _ms(offset.p50_ms),
            "p95": _ms(offset.p95_ms),
            "p99": _ms(offset.p99_ms),
            "now": _ms(offset.now_ms),
        },
        "latency_ms": _percentiles(session.playout.latency.figures()),
        "loop_lag_ms": _percentiles(lag.figures()),
        "dub": session.dubbing.public() if session.dubbing is not None else None,
        "filter": {**session.filtering.public(), **session.stand_in.public()},
        "switched_off": [
            runner.name for runner in (session.faces, session.render, session.filtering.runner) if runner.off
        ],
        "peer": {
            "video_codec": peer.video_codec,
            "decoder": peer.decoder,
            "encoder": peer.encoder,
            "codec_fallbacks": peer.codec_fallbacks,
            "from_card": peer.from_card,
            "bitrate_bps": peer.bitrate_bps,
            "aligned_by": peer.aligned_by,
            "packets_lost": peer.packets_lost,
            "jitter_depth": peer.jitter_depth,
            "concealed_ms": _ms(peer.concealed_ms),
            "lateness_ms": {kind: asdict(spread) for kind, spread in peer.lateness.items()},
        },
    }


def engine_figures(load: LoadFigures, card_memory: Mapping[str, int] | None = None) -> dict[str, Any]:
    """How busy the engine that all sessions share was in the last ten seconds, and is, as JSON takes it.

    `faces` over `batches` is how many were painted together; `slack_ms` is what was left before the deadline. Where a
    card paints, `card_memory_mb` is what that takes of it, by use.
    """
    memory = {"card_memory_mb": {use: round(size / 1e6, 1) for use, size in card_memory.items()}} if card_memory else {}
    return {
        **memory,
        "busy_share": round(load.busy_share, 3),
        "needed_share": round(load.needed_share, 3),
        "sessions": load.sessions,
        "pictures": load.pictures,
        "faces": load.faces,
        "batches": load.batches,
        "filtered": load.filtered,
        "late": load.late,
        "slack_ms": {"p5": _ms(load.slack_p5_ms), "p50": _ms(load.slack_p50_ms)},
    }


def _ms(value: float) -> float:
    return round(value, 2)


def _percentiles(figures: StageFigures) -> dict[str, float]:
    return {
        "p50": _ms(figures.p50_ms),
        "p95": _ms(figures.p95_ms),
        "p99": _ms(figures.p99_ms),
        "max": _ms(figures.max_ms),
    }


def _stage(figures: StageFigures) -> dict[str, float]:
    return {
        "p50_ms": _ms(figures.p50_ms),
        "p95_ms": _ms(figures.p95_ms),
        "p99_ms": _ms(figures.p99_ms),
        "count": figures.count,
        "failed": figures.failed,
    }
