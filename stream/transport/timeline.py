"""One timeline for both tracks of a peer: RTP timestamps in, session nanoseconds out.

aiortc starts each track's pts at its own first frame and throws the sender's
reports away, so that incoming sound and picture cannot be aligned. Here the
sound's clock is the session's clock. The picture is placed on it by time of
arrival until both tracks' sender reports (RFC 3550, 6.4.1) are known, then by
them; the difference is slewed, so that pts never jump and never go backwards.
"""

from dataclasses import dataclass, field
from typing import Literal

from stream.frames import NS_PER_MS, NS_PER_S
from stream.transport.jitter import Unwrapper

Kind = Literal["audio", "video"]

# How fast the picture is moved to where the reports say it belongs, per second of media: 10 %
# is below what an eye sees as a change of speed and closes 20 ms in 0.2 s.
_SLEW_PER_S = 100 * NS_PER_MS
# How fast the session follows the sender's clock drift and its path's delay.
_EPOCH_SLEW_PER_S = 20 * NS_PER_MS
# Reports that place the picture further than this from where it arrives are broken.
_REPORT_TRUSTED_WITHIN_NS = 2 * NS_PER_S
# A timestamp this far from where arrival puts it means that the sender has restarted its clock.
_RESTART_NS = 5 * NS_PER_S
_WINDOW_NS = 2 * NS_PER_S


class MinFilter:
    """The smallest value of the last one to two windows: the path's delay without its jitter."""

    def __init__(self, window_ns: int = _WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._begun_ns: int | None = None
        self._older: int | None = None
        self._newer: int | None = None

    def add(self, value: int, now_ns: int) -> int:
        """Take a value and return the smallest one."""
        if self._begun_ns is None or now_ns - self._begun_ns >= self._window_ns:
            self._begun_ns, self._older, self._newer = now_ns, self._newer, value
        assert self._newer is not None
        self._newer = min(self._newer, value)
        return self._newer if self._older is None else min(self._older, self._newer)


@dataclass(slots=True)
class _Track:
    """One track's clock: `session_ns = rtp_ns + offset_ns`."""

    rate_hz: int
    unwrap: Unwrapper = field(default_factory=lambda: Unwrapper(32))
    transit: MinFilter = field(default_factory=MinFilter)
    offset_ns: int | None = None
    transit_ns: int = 0
    last_rtp_ns: int = 0
    last_pts_ns: int | None = None
    # Sender time minus RTP time, from the last report.
    report_ns: int | None = None

    def rtp_ns(self, timestamp: int) -> int:
        return self.unwrap(timestamp) * NS_PER_S // self.rate_hz


class Timeline:
    """Maps both tracks of one peer to session time.

    Args:
        audio_rate_hz: RTP clock of the sound.
        video_rate_hz: RTP clock of the picture.
        audio_look_ahead_ns: How much later than its RTP timestamp the codec puts a sound.
    """

    def __init__(self, audio_rate_hz: int = 48_000, video_rate_hz: int = 90_000, audio_look_ahead_ns: int = 0) -> None:
        self._look_ahead_ns = audio_look_ahead_ns
        self._tracks: dict[Kind, _Track] = {"audio": _Track(audio_rate_hz), "video": _Track(video_rate_hz)}
        self._epoch_ns: int | None = None
        self._epoch_moved_ns = 0
        self.reports_refused = 0
        self.restarts = 0

    @property
    def epoch_ns(self) -> int | None:
        """Clock time of session time zero as the slower track arrives; None before the first media."""
        return self._epoch_ns

    @property
    def aligned_by(self) -> Literal["nothing", "arrival", "reports"]:
        """What places the picture on the sound's clock."""
        if any(track.offset_ns is None for track in self._tracks.values()):
            return "nothing"
        return "arrival" if self._report_target_ns() is None else "reports"

    def set_audio_codec(self, rate_hz: int, look_ahead_ns: int) -> None:
        """Say what codec the sound has, before its first packet."""
        self._tracks["audio"].rate_hz = rate_hz
        self._look_ahead_ns = look_ahead_ns

    def media(self, kind: Kind, timestamp: int, arrival_ns: int, duration_ns: int = 0) -> int:
        """Session time of a frame or chunk; strictly greater than the last one of its track.

        Args:
            kind: Its track.
            timestamp: RTP timestamp, 32 bits.
            arrival_ns: Clock time at which it was complete.
            duration_ns: How long it lasts: sound is sent when its last sample is known.
        """
        track = self._tracks[kind]
        rtp_ns = track.rtp_ns(timestamp)
        if track.offset_ns is None:
            self._begin(track, rtp_ns, arrival_ns - duration_ns)
        assert track.offset_ns is not None
        transit_ns = arrival_ns - duration_ns - rtp_ns
        if self._has_restarted(track, transit_ns):
            self._begin(track, rtp_ns, arrival_ns - duration_ns)
            track.transit, track.report_ns = MinFilter(), None
            self.restarts += 1
        track.transit_ns = track.transit.add(transit_ns, arrival_ns)
        if kind == "video":
            self._slew_picture(rtp_ns)
        self._follow(arrival_ns)
        pts_ns = rtp_ns + track.offset_ns
        if track.last_pts_ns is not None:
            pts_ns = max(pts_ns, track.last_pts_ns + 1)
        track.last_pts_ns, track.last_rtp_ns = pts_ns, rtp_ns
        return pts_ns

    def report(self, kind: Kind, ntp: int, timestamp: int) -> None:
        """Take a sender report: `ntp` is 32.32 fixed point seconds, `timestamp` the same instant in RTP."""
        track = self._tracks[kind]
        # A report before the track's first packet cannot be unwrapped; aiortc sends zeros until it has sent media.
        if not ntp or track.offset_ns is None:
            return
        ntp_ns = (ntp * NS_PER_S) >> 32
        # A second unwrapper state: a report may lie before or after the last packet.
        reference = track.last_rtp_ns * track.rate_hz // NS_PER_S
        step = (timestamp - reference + (1 << 31)) % (1 << 32) - (1 << 31)
        before = track.report_ns
        track.report_ns = ntp_ns - (reference + step) * NS_PER_S // track.rate_hz
        target_ns = self._report_target_ns()
        if target_ns is not None and abs(target_ns - self._arrival_target_ns()) > _REPORT_TRUSTED_WITHIN_NS:
            track.report_ns = before
            self.reports_refused += 1

    def _begin(self, track: _Track, rtp_ns: int, sent_ns: int) -> None:
        """Place a track's first item; nothing lies before session time zero or before its own last one."""
        if self._epoch_ns is None:
            self._epoch_ns = self._epoch_moved_ns = sent_ns
        pts_ns = max(0, sent_ns - self._epoch_ns)
        if track.last_pts_ns is not None:
            pts_ns = max(pts_ns, track.last_pts_ns + 1)
        track.offset_ns = pts_ns - rtp_ns

    def _has_restarted(self, track: _Track, transit_ns: int) -> bool:
        # Late is not restarted: a stall only makes the transit longer than the shortest known one.
        return track.last_pts_ns is not None and abs(transit_ns - track.transit_ns) > _RESTART_NS

    def _slew_picture(self, rtp_ns: int) -> None:
        video = self._tracks["video"]
        target_ns = self._report_target_ns()
        if target_ns is None:
            target_ns = self._arrival_target_ns()
        assert video.offset_ns is not None
        elapsed_ns = max(0, rtp_ns - video.last_rtp_ns) if video.last_pts_ns is not None else 0
        step_ns = min(elapsed_ns, NS_PER_S) * _SLEW_PER_S // NS_PER_S
        video.offset_ns += max(-step_ns, min(step_ns, target_ns - video.offset_ns))

    def _arrival_target_ns(self) -> int:
        """Offset that makes the quickest picture meet the quickest sound."""
        audio, video = self._tracks["audio"], self._tracks["video"]
        if audio.offset_ns is None or audio.last_pts_ns is None or video.last_pts_ns is None:
            return video.offset_ns or 0
        return video.transit_ns - audio.transit_ns + audio.offset_ns

    def _report_target_ns(self) -> int | None:
        """Offset that puts what was captured together at the same session time."""
        audio, video = self._tracks["audio"], self._tracks["video"]
        if audio.report_ns is None or video.report_ns is None or audio.offset_ns is None:
            return None
        return video.report_ns - (audio.report_ns - self._look_ahead_ns) + audio.offset_ns

    def _follow(self, now_ns: int) -> None:
        """Move the epoch towards the time at which the slower track arrives."""
        assert self._epoch_ns is not None
        known = [t for t in self._tracks.values() if t.offset_ns is not None and t.last_pts_ns is not None]
        if not known:
            return
        target_ns = max(track.transit_ns - (track.offset_ns or 0) for track in known)
        elapsed_ns = max(0, now_ns - self._epoch_moved_ns)
        step_ns = min(elapsed_ns, NS_PER_S) * _EPOCH_SLEW_PER_S // NS_PER_S
        if step_ns:
            self._epoch_ns += max(-step_ns, min(step_ns, target_ns - self._epoch_ns))
            self._epoch_moved_ns = now_ns
