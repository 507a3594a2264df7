import pytest
from aiortc.rtcrtpreceiver import NackGenerator

from stream.frames import NS_PER_MS
from stream.transport.nack import GIVE_UP_NS, LossTracker
from tests.stream.transport.packets import packet

pytestmark = pytest.mark.unit

LAN_NS = 1 * NS_PER_MS
FAR_NS = 100 * NS_PER_MS


def test_a_missing_packet_is_asked_for_again_until_it_comes() -> None:
    tracker = LossTracker()
    tracker.add(0, 0)
    tracker.add(2, 0)

    asked = [(at, tracker.due(at * NS_PER_MS, LAN_NS)) for at in (0, 10, 29, 30, 59, 60)]
    tracker.add(1, 61 * NS_PER_MS)

    assert [at for at, missing in asked if missing == [1]] == [0, 30, 60]
    assert tracker.due(200 * NS_PER_MS, LAN_NS) == []
    assert (tracker.lost, tracker.repaired, tracker.missing) == (1, 1, 0)


def test_the_stock_generator_asks_only_once() -> None:
    generator = NackGenerator()
    asked = [generator.add(packet(sequence, 0)) for sequence in (0, 2, 3, 4, 5, 6)]
    assert asked == [False, True, False, False, False, False]


def test_a_far_sender_is_not_asked_again_before_its_answer_can_be_here() -> None:
    tracker = LossTracker()
    tracker.add(0, 0)
    tracker.add(2, 0)
    assert [bool(tracker.due(at * NS_PER_MS, FAR_NS)) for at in (0, 100, 149, 150)] == [True, False, False, True]


def test_a_hole_is_hopeless_after_a_quarter_of_a_second_and_forgotten_when_told() -> None:
    tracker = LossTracker()
    tracker.add(0, 0)
    tracker.add(5, 0)

    assert not tracker.is_hopeless(GIVE_UP_NS - 1)
    assert tracker.is_hopeless(GIVE_UP_NS)
    tracker.forget_before(5)
    assert not tracker.is_hopeless(GIVE_UP_NS)


def test_a_jump_of_the_sequence_does_not_ask_for_thousands() -> None:
    tracker = LossTracker()
    tracker.add(0, 0)
    tracker.add(30_000, 0)
    assert tracker.missing <= 1024
    assert len(tracker.due(0, LAN_NS)) <= 200
