import itertools
import random

import pytest

from stream.frames import NS_PER_MS, NS_PER_S
from stream.transport.timeline import MinFilter, Timeline

pytestmark = pytest.mark.unit

AUDIO_BASE, VIDEO_BASE = 123_456, 4_000_000_000
CHUNK_NS = 20 * NS_PER_MS
START_NS = 50 * NS_PER_S
NTP_START_S = 3_900_000_000


def ntp(at_ns: int) -> int:
    return (NTP_START_S << 32) + ((at_ns << 32) // NS_PER_S)


class Sender:
    """A sender whose tracks take different times to arrive; capture time zero is `START_NS` on our clock."""

    def __init__(
        self, *, audio_path_ms: float, video_path_ms: float, jitter_ms: float = 0.0, drift: float = 0.0
    ) -> None:
        self.timeline = Timeline()
        self.audio_path_ns = int(audio_path_ms * NS_PER_MS)
        self.video_path_ns = int(video_path_ms * NS_PER_MS)
        self.jitter_ns = int(jitter_ms * NS_PER_MS)
        self.drift = drift
        self.random = random.Random(1)
        self.heard: list[tuple[int, int]] = []
        self.seen: list[tuple[int, int]] = []

    def audio_ticks(self, at_ns: int) -> int:
        return AUDIO_BASE + round(at_ns * 48_000 * (1 + self.drift) / NS_PER_S)

    def video_ticks(self, at_ns: int) -> int:
        return (VIDEO_BASE + at_ns * 90_000 // NS_PER_S) & 0xFFFFFFFF

    def _late(self) -> int:
        return int(self.random.uniform(0, self.jitter_ns))

    def run(self, seconds: float, *, begin_s: float = 0.0, reports_from_s: float | None = None) -> None:
        """Feed both tracks in order of arrival, and a report of each every second."""
        begin_ns, end_ns = int(begin_s * NS_PER_S), int((begin_s + seconds) * NS_PER_S)
        chunks, frames = range(begin_ns, end_ns, CHUNK_NS), range(begin_ns, end_ns, NS_PER_S // 30)
        events = [(at_ns + CHUNK_NS + self.audio_path_ns + self._late(), "audio", at_ns) for at_ns in chunks]
        events += [(at_ns + self.video_path_ns + self._late(), "video", at_ns) for at_ns in frames]
        if reports_from_s is not None:
            seconds_ns = range(begin_ns, end_ns, NS_PER_S)
            since_ns = int(reports_from_s * NS_PER_S)
            events += [(at_ns + 300 * NS_PER_MS, "report", at_ns) for at_ns in seconds_ns if at_ns >= since_ns]
        for arrival_ns, kind, at_ns in sorted(events):
            self._feed(kind, at_ns, START_NS + arrival_ns)

    def _feed(self, kind: str, at_ns: int, arrival_ns: int) -> None:
        if kind == "audio":
            pts_ns = self.timeline.media("audio", self.audio_ticks(at_ns), arrival_ns, CHUNK_NS)
            self.heard.append((at_ns, pts_ns))
        elif kind == "video":
            self.seen.append((at_ns, self.timeline.media("video", self.video_ticks(at_ns), arrival_ns)))
        else:
            self.timeline.report("audio", ntp(at_ns), self.audio_ticks(at_ns))
            self.timeline.report("video", ntp(at_ns), self.video_ticks(at_ns))

    def skew_ms(self) -> float:
        """Where the last picture is put, minus where sound of the same capture time is put."""
        (heard_at, heard_pts), (seen_at, seen_pts) = self.heard[-1], self.seen[-1]
        return ((seen_pts - seen_at) - (heard_pts - heard_at)) / NS_PER_MS


def test_pts_of_sound_follow_its_ticks_without_gap_or_overlap() -> None:
    sender = Sender(audio_path_ms=30, video_path_ms=60, jitter_ms=15)
    sender.run(20, reports_from_s=3)
    pts = [pts_ns for _, pts_ns in sorted(sender.heard)]
    # Ticks to nanoseconds are rounded down: a step is 20 ms to the nanosecond.
    assert {later - earlier for earlier, later in itertools.pairwise(pts)} == {CHUNK_NS}


@pytest.mark.parametrize(("audio_ms", "video_ms"), [(20, 150), (150, 20), (10, 10)])
def test_reports_align_tracks_whose_paths_differ(audio_ms: float, video_ms: float) -> None:
    sender = Sender(audio_path_ms=audio_ms, video_path_ms=video_ms, jitter_ms=20)
    sender.run(10, reports_from_s=2)
    assert sender.timeline.aligned_by == "reports"
    assert abs(sender.skew_ms()) < 0.1  # one tick of 90 kHz is 0.011 ms


def test_before_the_reports_the_tracks_are_aligned_by_their_quickest_arrivals() -> None:
    sender = Sender(audio_path_ms=20, video_path_ms=60, jitter_ms=20)
    sender.run(8)
    assert sender.timeline.aligned_by == "arrival"
    # What arrival cannot know is the difference of the paths.
    assert sender.skew_ms() == pytest.approx(40, abs=3)


def test_the_step_when_the_reports_come_is_slewed() -> None:
    sender = Sender(audio_path_ms=20, video_path_ms=170)
    sender.run(8, reports_from_s=3)
    steps_ms = [(b[1] - a[1]) / NS_PER_MS for a, b in zip(sender.seen, sender.seen[1:], strict=False)]
    # A frame interval is 33.3 ms; a tenth of it may be taken or given.
    assert min(steps_ms) >= 33.3 * 0.9 - 0.1
    assert max(steps_ms) <= 33.4 * 1.1 + 0.1
    assert abs(sender.skew_ms()) < 0.1


def test_pts_never_go_backwards_never_repeat_and_begin_at_zero_or_later() -> None:
    sender = Sender(audio_path_ms=300, video_path_ms=10, jitter_ms=15)
    sender.run(12, reports_from_s=1)
    for track in (sender.heard, sender.seen):
        pts = [pts_ns for _, pts_ns in track]
        assert all(later > earlier for earlier, later in itertools.pairwise(pts))
        assert pts[0] >= 0


def test_a_sound_card_that_drifts_keeps_its_picture_and_the_epoch_follows() -> None:
    sender = Sender(audio_path_ms=20, video_path_ms=40, drift=200e-6)
    sender.run(300, reports_from_s=1)
    # The picture is put where sound of the same instant is, in the sound's own time.
    heard_at, heard_pts = sender.heard[-1]
    seen_at, seen_pts = sender.seen[-1]
    in_sound_time = (seen_at - heard_at) * (1 + 200e-6)
    assert abs((seen_pts - heard_pts) - in_sound_time) < 1 * NS_PER_MS
    # 200 ppm over 300 s are 60 ms; the epoch has gone along.
    assert sender.timeline.epoch_ns is not None
    expected_ns = START_NS + seen_at + sender.video_path_ns - seen_pts
    assert abs(sender.timeline.epoch_ns - expected_ns) < 5 * NS_PER_MS


def test_reports_that_make_no_sense_are_refused() -> None:
    sender = Sender(audio_path_ms=20, video_path_ms=40)
    sender.run(2)
    sender.timeline.report("audio", ntp(0), sender.audio_ticks(0))
    sender.timeline.report("video", ntp(90 * NS_PER_S), sender.video_ticks(0))
    assert sender.timeline.reports_refused == 1
    assert sender.timeline.aligned_by == "arrival"


def test_an_empty_report_and_one_before_any_media_are_ignored() -> None:
    timeline = Timeline()
    timeline.report("audio", ntp(0), 5)
    timeline.report("audio", 0, 0)
    assert timeline.aligned_by == "nothing"
    assert timeline.epoch_ns is None


def test_a_sender_that_restarts_its_clock_goes_on_where_it_was() -> None:
    timeline = Timeline()
    pts = [timeline.media("audio", n * 960, n * CHUNK_NS, CHUNK_NS) for n in range(50)]
    pts += [timeline.media("audio", 3_000_000_000 + n * 960, (50 + n) * CHUNK_NS, CHUNK_NS) for n in range(50)]
    assert timeline.restarts == 1
    steps = [later - earlier for earlier, later in itertools.pairwise(pts)]
    assert all(0 < step <= 2 * CHUNK_NS for step in steps)


def test_a_stall_of_the_path_is_no_restart_and_moves_no_pts() -> None:
    timeline = Timeline()
    pts = []
    for n in range(500):
        stall_ns = 3 * NS_PER_S if 200 <= n < 350 else 0
        pts.append(timeline.media("audio", n * 960, n * CHUNK_NS + stall_ns, CHUNK_NS))
    assert timeline.restarts == 0
    assert {b - a for a, b in itertools.pairwise(pts)} == {CHUNK_NS}


def test_the_look_ahead_of_the_codec_is_taken_from_the_sound() -> None:
    plain, corrected = (Sender(audio_path_ms=20, video_path_ms=40) for _ in range(2))
    corrected.timeline.set_audio_codec(48_000, 6_500_000)
    for sender in (plain, corrected):
        sender.run(6, reports_from_s=1)
    # Its sound was captured 6.5 ms before its timestamp says: the picture belongs that much later on the sound's time.
    assert corrected.skew_ms() - plain.skew_ms() == pytest.approx(6.5, abs=0.05)


def test_rtp_timestamps_that_wrap_do_not_show() -> None:
    timeline = Timeline()
    first = (1 << 32) - 45_000
    pts = [timeline.media("video", (first + n * 3000) & 0xFFFFFFFF, n * NS_PER_S // 30) for n in range(60)]
    assert max(b - a for a, b in itertools.pairwise(pts)) < 40 * NS_PER_MS


def test_min_filter_forgets_after_two_windows() -> None:
    least = MinFilter(window_ns=10)
    values = [least.add(value, now) for now, value in enumerate([5, 9, 9, 9, 9, 9, 9, 9, 9, 9, *[9] * 15])]
    assert values[0] == 5
    assert values[15] == 5
    assert values[24] == 9
