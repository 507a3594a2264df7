"""The codecs' benchmark measures what opens, says of the rest why not, and times nothing that breaks a promise."""

import json
from pathlib import Path

import pytest

from benchmarks import codecs as bench
from benchmarks.codecs import check, pictures, run
from stream.media.codec_device import CPU, CodecsConfig, choose
from tests.kernels.cuda.fake_card import FakeCard
from tests.stream.card_stand_in import Card

pytestmark = pytest.mark.unit

SMALL = (96, 128)
NOTHING = choose(CodecsConfig(device="auto"), has=lambda _: False)


def test_the_processors_codecs_are_measured_and_the_cards_are_listed_with_the_reason() -> None:
    report = run(NOTHING, (SMALL,), count=3)
    assert [row.name for row in report.measured] == [
        "128x96: encode H264, processor",
        "128x96: decode H264, processor",
        "128x96: encode VP8, processor",
        "128x96: decode VP8, processor",
    ]
    assert [row.extra["codec"] for row in report.measured] == ["libx264", "h264", "libvpx", "libvpx"]
    assert all(row.ms.count == 3 and row.extra["processor_ms"] > 0 for row in report.measured)
    reasons = {each["name"]: each["reason"] for each in report.not_measured}
    assert reasons["128x96: encode VP8, card"] == "no card encodes VP8"
    assert "no NVIDIA driver" in reasons["128x96: encode H264, card"]
    assert "no NVIDIA driver" in reasons["128x96: decode VP8, card"]
    assert "no NVIDIA driver" in reasons["128x96: decode, mark and encode H264, on the card"]
    assert reasons["encode H264, libopenh264"] == "this FFmpeg has none"


def test_a_card_that_works_is_measured_beside_the_processor() -> None:
    report = run(Card().codecs(), (SMALL,), count=3)
    names = {row.name: row.extra["codec"] for row in report.measured}
    assert names["128x96: encode H264, card"] == "h264_nvenc"
    assert names["128x96: decode H264, card"] == "h264 (NVDEC)"
    assert names["128x96: decode VP8, card"] == "vp8 (NVDEC)"


def test_pictures_that_stay_on_a_card_are_measured_beside_those_that_cross_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeCard()
    report = run(Card(memory=memory).shared(memory.open(monkeypatch)), (SMALL,), count=3)
    rows = {row.name: row.extra["from_card"] for row in report.measured if "from_card" in row.extra}
    assert rows == {
        "128x96: decode, mark and encode H264, in memory": 0,
        "128x96: decode, mark and encode H264, on the card": 13,
    }
    assert memory.used == 0


def test_pictures_that_do_not_stay_as_they_were_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeCard()
    codecs = Card(memory=memory).shared(memory.open(monkeypatch))
    monkeypatch.setattr(memory, "enqueue_write", lambda *_: None)
    reasons = {each["name"]: each["reason"] for each in run(codecs, (SMALL,), count=3).not_measured}
    assert reasons["128x96: decode, mark and encode H264, on the card"] == (
        "picture 0: the same on the card and in memory"
    )


@pytest.mark.parametrize(
    ("card", "work", "reason"),
    [
        (Card(baseline=False), "encode", "profile 100 at level"),
        (Card(fails_at={"w": 3}), "encode", "a keyframe, or none"),
        (Card(fails_at={"w": 20}), "encode", "the card was given up while it was timed"),
        (Card(fails_at={"r": 1}), "decode", "the card was given up"),
    ],
)
def test_a_card_that_breaks_a_promise_is_not_timed(card: Card, work: str, reason: str) -> None:
    """The other unit is measured all the same."""
    report = run(card.codecs(), (SMALL,), count=3)
    reasons = {each["name"]: each["reason"] for each in report.not_measured}
    assert reason in reasons[f"128x96: {work} H264, card"]
    other = {"encode": "decode", "decode": "encode"}[work]
    assert f"128x96: {other} H264, card" in [row.name for row in report.measured]


def test_the_material_is_clean_after_both_codecs() -> None:
    frames = pictures(*SMALL, count=8)
    assert check("H264", frames, CPU) > 30
    assert check("VP8", frames, CPU) > 30


def test_the_json_holds_rows_and_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SIZES", (SMALL,))
    monkeypatch.setattr(bench, "choose", lambda _: NOTHING)
    assert bench.main(["--count", "2", "--results", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*-codecs.json")
    told = json.loads(path.read_text())
    assert len(told["rows"]) == 4
    assert len(told["not_measured"]) == 6
    assert "encode H264, card: not measured: there is no NVIDIA driver" in capsys.readouterr().out
