import random

import pytest
from aiortc import jitterbuffer as stock

from stream.transport.jitter import AudioJitterBuffer, EncodedFrame, Unwrapper, VideoJitterBuffer
from tests.stream.transport.packets import KEY, MORE, packet, video_frames

pytestmark = pytest.mark.unit


def starts_keyframe(candidate: object) -> bool:
    return getattr(candidate, "_data", b"")[:2] == KEY


def push(buffer: VideoJitterBuffer, candidate: object) -> list[EncodedFrame]:
    sequence = buffer.unwrap(candidate.sequence_number)  # type: ignore[attr-defined]
    return buffer.add(sequence, candidate, 0)  # type: ignore[arg-type]


def test_a_picture_leaves_with_its_marker_packet_and_not_with_the_next_picture() -> None:
    ours, theirs = VideoJitterBuffer(starts_keyframe), stock.JitterBuffer(capacity=128, is_video=True)
    first = next(video_frames(1))

    assert [len(push(ours, part)) for part in first] == [0, 0, 1]
    assert [theirs.add(part)[1] for part in first] == [None, None, None]  # the stock fault


def test_reordered_packets_of_a_picture_are_joined_in_order() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    first, second = video_frames(2)
    order = [first[0], second[2], first[2], second[0], second[1], first[1]]

    frames = [frame for part in order for frame in push(buffer, part)]

    assert [frame.rtp_timestamp for frame in frames] == [0, 3000]
    assert frames[0].data == b"".join(part._data for part in first)


def test_one_packet_releases_every_picture_that_it_completes() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    frames = list(video_frames(20))
    late = frames[1][1]
    for part in [p for frame in frames for p in frame if p is not late]:
        push(buffer, part)

    assert len(push(buffer, late)) == 19
    assert buffer.depth == 0


def test_padding_between_pictures_neither_ends_nor_delays_one() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    first, second = video_frames(2)
    for part in second:
        part.sequence_number += 2
    padding = [packet(sequence, 0, b"", marker=0) for sequence in (3, 4)]

    counts = [len(push(buffer, part)) for part in [*first, *padding, *second]]

    assert counts == [0, 0, 1, 0, 0, 0, 0, 1]


def test_a_picture_without_a_marker_ends_where_the_next_timestamp_begins() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    parts = [packet(0, 0, KEY, marker=0), packet(1, 0, MORE, marker=0), packet(2, 3000, MORE, marker=0)]

    assert [len(push(buffer, part)) for part in parts] == [0, 0, 1]


def test_nothing_is_given_to_the_decoder_before_a_keyframe() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    frames = list(video_frames(6, key_at=4))

    out = [len([f for part in frame for f in push(buffer, part)]) for frame in frames]

    assert out == [0, 0, 0, 0, 1, 1]


def test_giving_up_a_hole_goes_on_at_the_next_keyframe_that_is_held() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    before, after = list(video_frames(4)), list(video_frames(3, first=12))
    for frame in after:
        for part in frame:
            part.timestamp += 4 * 3000
    lost = before[2][1]
    for part in [p for frame in [*before, *after] for p in frame if p is not lost]:
        push(buffer, part)

    frames = buffer.give_up()

    assert [frame.rtp_timestamp for frame in frames] == [12000, 15000, 18000]
    assert buffer.depth == 0


def test_giving_up_without_a_keyframe_waits_for_one_and_holds_little() -> None:
    buffer = VideoJitterBuffer(starts_keyframe)
    frames = list(video_frames(400, key_at=0))
    for part in [p for number, frame in enumerate(frames) for p in frame if number != 1]:
        push(buffer, part)
        if buffer.depth > 300:
            buffer.give_up()

    assert buffer.wants_keyframe
    assert buffer.depth <= 32 + 1


@pytest.mark.parametrize("start", [0, 65_530])
def test_pictures_come_out_whole_and_in_order_whatever_the_order_of_arrival(start: int) -> None:
    generator = random.Random(start)
    buffer = VideoJitterBuffer(starts_keyframe)
    parts = [p for frame in video_frames(200, per_frame=4, first=start) for p in frame]
    # Every packet may be overtaken by up to eight others; the first one is not.
    order = [parts[0], *sorted(parts[1:], key=lambda p: parts.index(p) + generator.uniform(0, 8))]

    frames = [frame for part in order for frame in push(buffer, part)]

    assert [frame.rtp_timestamp for frame in frames] == [number * 3000 for number in range(200)]
    assert all(len(frame.data) == 8 for frame in frames)


def audio_packets(count: int, first: int = 0) -> list[object]:
    return [packet(first + n, n * 960, bytes([n % 256]), payload_type=111) for n in range(count)]


def test_one_lost_audio_packet_does_not_make_the_buffer_deeper() -> None:
    ours, theirs = AudioJitterBuffer(), stock.JitterBuffer(capacity=16, prefetch=4)
    depths, stock_depths = [], []
    for number, part in enumerate(audio_packets(200)):
        if number == 50:
            continue
        ours.add(part, 0)  # type: ignore[arg-type]
        theirs.add(part)
        depths.append(ours.depth)
        stock_depths.append(sum(held is not None for held in theirs._packets))

    assert max(depths) == 0
    assert stock_depths[-1] >= 13  # the stock fault: 280 ms for ever
    assert ours.lost == 1


@pytest.mark.parametrize("start", [0, 65_500])
def test_five_percent_of_audio_lost_leaves_order_and_depth_as_they_were(start: int) -> None:
    generator = random.Random(5)
    buffer = AudioJitterBuffer()
    kept = [p for n, p in enumerate(audio_packets(2000, start)) if not n or generator.random() >= 0.05]
    out: list[EncodedFrame] = []
    depths = []
    for part in kept:
        out += buffer.add(part, 0)  # type: ignore[arg-type]
        depths.append(buffer.depth)

    stamps = [frame.rtp_timestamp for frame in out]
    assert stamps == sorted(stamps)
    assert len(stamps) == len(kept)
    assert max(depths) == 0


def test_audio_that_comes_in_order_is_not_held_back_at_all() -> None:
    buffer = AudioJitterBuffer()
    assert [len(buffer.add(part, 0)) for part in audio_packets(20)] == [1] * 20  # type: ignore[arg-type]


def test_a_lost_audio_packet_holds_nothing_back_beyond_its_successor() -> None:
    """Each further packet held back would be 20 ms of jitter at the viewer."""
    buffer = AudioJitterBuffer()
    assert [len(buffer.add(part, 0)) for part in audio_packets(20) if part.sequence_number != 7] == [1] * 19  # type: ignore[attr-defined, arg-type]
    assert buffer.lost == 1


def test_after_one_audio_packet_was_overtaken_the_next_one_is_put_back_in_order() -> None:
    buffer = AudioJitterBuffer()
    parts = audio_packets(8)
    out = [frame for n in (0, 2, 1, 3, 4, 6, 5, 7) for frame in buffer.add(parts[n], 0)]  # type: ignore[arg-type]

    assert [frame.rtp_timestamp // 960 for frame in out] == [0, 2, 3, 4, 5, 6, 7]


def test_an_audio_packet_that_comes_twice_is_no_sign_of_swapping() -> None:
    buffer = AudioJitterBuffer()
    parts = audio_packets(6)
    out = [frame for n in (0, 1, 1, 2, 4, 5) for frame in buffer.add(parts[n], 0)]  # type: ignore[arg-type]

    assert [frame.rtp_timestamp // 960 for frame in out] == [0, 1, 2, 4, 5]
    assert buffer.depth == 0


def test_unwrapping_follows_both_directions_across_the_edge() -> None:
    unwrap = Unwrapper(16)
    assert [unwrap(v) for v in (65_534, 65_535, 1, 0, 2, 65_535)] == [65_534, 65_535, 65_537, 65_536, 65_538, 65_535]
