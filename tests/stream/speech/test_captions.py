"""Captions as files."""

import pytest

from stream.speech.captions import Caption, sub_rip, web_vtt

pytestmark = pytest.mark.unit

S = 1_000_000_000


def test_web_vtt_has_its_head_a_note_and_escaped_cues() -> None:
    text = web_vtt([Caption(S, 3 * S, "a < b & c", "en")])
    assert text.startswith("WEBVTT\n")
    assert "NOTE Made by a machine" in text
    assert "00:00:01.000 --> 00:00:03.000\na &lt; b &amp; c\n" in text


def test_sub_rip_counts_its_cues() -> None:
    text = sub_rip([Caption(3600 * S, 3602 * S, "one", "en"), Caption(3603 * S, 3604 * S, "two", "en")])
    assert text.startswith("1\n01:00:00,000 --> 01:00:02,000\none\n")
    assert "\n2\n" in text


def test_cues_do_not_overlap_and_are_never_empty() -> None:
    text = sub_rip([Caption(0, 5 * S, "one", "en"), Caption(S, 2 * S, "two", "en"), Caption(3 * S, 4 * S, " ", "en")])
    assert "00:00:00,000 --> 00:00:01,000\none" in text
    assert text.count("-->") == 2


def test_a_long_text_is_split_into_pages_of_two_lines() -> None:
    text = sub_rip([Caption(0, 10 * S, "word " * 60, "en")])
    pages = [block.split("\n")[2:] for block in text.strip().split("\n\n")]
    assert all(1 <= len(page) <= 2 and all(len(line) <= 42 for line in page) for page in pages)
    assert len(pages) >= 4
