import pytest

from stream.speech.captions import Caption, sub_rip, web_vtt

pytestmark = pytest.mark.unit

_S = 1_000_000_000


def test_webvtt_escapes_what_is_markup_and_says_that_a_machine_made_it() -> None:
    text = web_vtt([Caption(_S, 2 * _S, "a < b & c --> d", "es")])
    assert text.startswith("WEBVTT\n\nNOTE Made by a machine")
    assert "00:00:01.000 --> 00:00:02.000\na &lt; b &amp; c --&gt; d\n" in text


def test_subrip_numbers_its_cues_and_has_a_comma_in_its_times() -> None:
    text = sub_rip([Caption(3_600 * _S, 3_601 * _S, "dos", "es"), Caption(0, _S, "uno", "es")])
    assert text == "1\n00:00:00,000 --> 00:00:01,000\nuno\n\n2\n01:00:00,000 --> 01:00:01,000\ndos\n"


def test_cues_do_not_overlap() -> None:
    text = sub_rip([Caption(0, 5 * _S, "uno", "es"), Caption(2 * _S, 3 * _S, "dos", "es")])
    assert "00:00:00,000 --> 00:00:02,000" in text


def test_a_long_text_is_split_in_time_into_cues_of_two_short_lines() -> None:
    words = " ".join(["palabra"] * 40)
    cues = sub_rip([Caption(0, 8 * _S, words, "es")]).strip().split("\n\n")
    lines = [cue.split("\n")[2:] for cue in cues]
    assert " ".join(line for cue in lines for line in cue) == words
    assert all(len(cue) <= 2 and max(map(len, cue)) <= 42 for cue in lines)
    assert cues[-1].split("\n")[1].endswith("00:00:08,000")


def test_an_empty_text_is_no_cue() -> None:
    assert sub_rip([Caption(0, _S, "  ", "es")]) == ""
