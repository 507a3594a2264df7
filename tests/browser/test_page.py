"""What a person sees and hears: both sources, both modes, an uploaded voice, the figures, the end."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import clips
from tests.browser.conftest import Desk, ask, wait_until

pytestmark = pytest.mark.browser

PICTURE_STAGES = ("decode", "faces", "render", "encode")
SOURCES = ["Use my camera", "Use the sample clip"]


@pytest.mark.parametrize("source", SOURCES)
def test_pressing_a_source_brings_back_a_moving_picture_with_sound(desk: Desk, source: str) -> None:
    desk.start(source)
    desk.wait_for("document.getElementById('result').currentTime > 0.5")
    before, seen = desk.seconds_shown(), desk.picture()
    level, _ = desk.hear(6.0)
    after, later = desk.seconds_shown(), desk.picture()

    assert after - before > 3.0, "the picture stood still"
    assert seen.max() > 60, "the picture is black"
    assert seen.std() > 10, "the picture is flat"
    assert np.abs(later - seen).mean() > 0.5, "nothing moved"
    assert level > 0.02, "no sound came back"


def test_the_original_is_mute_and_the_result_is_heard_only_after_the_button(desk: Desk) -> None:
    muted = "id => document.getElementById(id).muted"
    desk.start("Use the sample clip")
    assert desk.page.evaluate(muted, "original")
    assert desk.page.evaluate(muted, "result")

    desk.page.get_by_role("button", name="Sound is off").click()

    assert desk.page.evaluate(muted, "original")
    assert not desk.page.evaluate(muted, "result")
    assert desk.page.locator("#sound").get_attribute("aria-pressed") == "true"


def test_the_mode_changes_while_the_picture_runs(desk: Desk) -> None:
    desk.start("Use my camera")
    desk.page.wait_for_selector("#tag:has-text('Synthetic')")
    desk.choose("Pass-through")
    desk.page.wait_for_selector("#tag:has-text('Pass-through')")
    # The page shows the mode that the server reports, so wait for a report made after the switch.
    desk.wait_for("document.getElementById('reasons').textContent.includes('pass-through')")
    shown = desk.seconds_shown()
    desk.choose("Re-voice")
    desk.page.wait_for_selector("#tag:has-text('Synthetic')")
    desk.wait_for(f"document.getElementById('result').currentTime > {shown + 1}")


def test_an_uploaded_voice_is_the_one_that_is_heard(desk: Desk, tmp_path: Path) -> None:
    voice = tmp_path / "tone.wav"
    t = np.arange(3 * clips.SAMPLE_RATE_HZ) / clips.SAMPLE_RATE_HZ
    clips.write_wav(voice, (0.4 * np.sin(2 * np.pi * 1370 * t)).astype(np.float32))
    desk.start("Use the sample clip")

    desk.page.set_input_files("#voice-file", voice)
    desk.wait_for("document.getElementById('voice').selectedOptions[0].text.startsWith('tone')")
    desk.wait_for("document.getElementById('result').currentTime > 2")
    level, frequency_hz = desk.hear(5.0)

    assert level > 0.1
    assert frequency_hz == pytest.approx(1370, abs=12)  # two bins of the analyser's 5.9 Hz


def test_a_file_that_is_no_voice_is_refused_in_one_line_and_the_call_goes_on(desk: Desk, tmp_path: Path) -> None:
    nonsense = tmp_path / "holiday.wav"
    nonsense.write_bytes(b"this is a shopping list, not a sound" * 50)
    desk.start("Use the sample clip")

    desk.page.set_input_files("#voice-file", nonsense)
    desk.page.wait_for_selector("#voice-error:not([hidden])")

    message = desk.text("#voice-error")
    assert "\n" not in message.strip()
    assert 20 < len(message) < 300
    assert "Traceback" not in message
    assert desk.page.get_attribute("body", "data-state") == "live"


def test_the_figures_of_every_stage_fill_in(desk: Desk) -> None:
    desk.start("Use my camera")
    desk.wait_for("document.querySelectorAll('#stage-rows tr[data-stage]').length >= 4")
    desk.wait_for("document.querySelector('[data-count=sent]').textContent.replace(',', '') > 40")
    desk.wait_for("document.getElementById('glass').textContent.startsWith('≈')")

    p95 = desk.page.eval_on_selector_all(
        "#stage-rows tr[data-stage]",
        "rows => Object.fromEntries(rows.map(r => [r.dataset.stage, +r.children[2].innerText]))",
    )
    assert {name: p95[name] > 0 for name in PICTURE_STAGES} == dict.fromkeys(PICTURE_STAGES, True)
    assert desk.text("#offset-engine").endswith("ms")
    assert 20 < float(desk.text("#glass").split()[1]) < 2000
    assert desk.text("#result-note").startswith("640 × 480")


def test_stop_ends_the_session_and_leaves_the_page_as_it_was(desk: Desk) -> None:
    desk.start("Use my camera")
    desk.page.get_by_role("button", name="Stop").click()

    desk.page.wait_for_selector("body[data-state=idle]")
    wait_until(lambda: ask(f"{desk.server.url}/health")[1]["sessions"] == 0, 3.0)
    assert desk.page.evaluate("document.getElementById('result').srcObject") is None
    assert desk.text("#state-text") == "Ready"
    desk.start("Use the sample clip")


def test_the_sample_clip_comes_back_at_its_full_size(desk: Desk) -> None:
    desk.start("Use the sample clip")
    desk.wait_for("document.getElementById('result').videoHeight >= 480", within_s=20)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_overflows_at_any_width(desk: Desk, width: int) -> None:
    desk.page.set_viewport_size({"width": width, "height": 800})
    desk.start("Use my camera")
    desk.wait_for("document.querySelectorAll('#stage-rows tr[data-stage]').length >= 4")

    assert desk.page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_reached_and_pressed_by_keyboard(desk: Desk) -> None:
    reached = []
    for _ in range(12):
        desk.page.keyboard.press("Tab")
        reached.append(desk.page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"use-camera", "use-sample", "camera-format", "mode", "voice", "voice-file"} <= set(reached)

    desk.page.focus("#use-sample")
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_selector("body[data-state=live]", timeout=15_000)
    desk.page.focus("#stop")
    desk.page.keyboard.press("Space")
    desk.page.wait_for_selector("body[data-state=idle]")
