"""What goes wrong, and what the person at the screen is told: camera, server, places, a peer that vanishes."""

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

from benchmarks import chromium
from tests.browser.conftest import Desk, ask, opened, server_command, wait_until

pytestmark = pytest.mark.browser

LIVE = "body[data-state=live]"


def _message_without_camera(playwright: Playwright, server: chromium.ServerProcess, flags: list[str]) -> str:
    with chromium.open_browser(flags=flags, playwright=playwright) as bare, opened(bare, server) as desk:
        desk.page.get_by_role("button", name="Use my camera").click()
        desk.page.wait_for_selector("#message:not([hidden])", timeout=15_000)
        assert desk.page.get_attribute("body", "data-state") == "idle"
        return desk.text("#message-text")


def test_a_refused_camera_is_explained(playwright: Playwright, server: chromium.ServerProcess) -> None:
    message = _message_without_camera(
        playwright, server, ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
    )
    assert "refused" in message
    assert "Allow it" in message


def test_a_missing_camera_is_explained(playwright: Playwright, server: chromium.ServerProcess) -> None:
    message = _message_without_camera(
        playwright, server, ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=device-count=0"]
    )
    assert "No camera was found" in message
    assert "sample clip" in message


def test_a_closed_page_frees_its_place_within_five_seconds(browser: Browser, server: chromium.ServerProcess) -> None:
    with opened(browser, server) as desk:
        desk.start("Use my camera")
        assert ask(f"{server.url}/health")[1]["sessions"] == 1
    wait_until(lambda: ask(f"{server.url}/health")[1]["sessions"] == 0, 5.0)


def test_a_crashed_browser_frees_its_place_within_five_seconds(
    devices: tuple[Path, Path], playwright: Playwright, server: chromium.ServerProcess
) -> None:
    others = set(chromium.processes_with(str(devices[0]), parent=os.getpid()))
    with chromium.open_browser(*devices, playwright=playwright) as doomed:
        Desk(doomed.new_page(), server).start("Use my camera")
        assert ask(f"{server.url}/health")[1]["sessions"] == 1
        for process in set(chromium.processes_with(str(devices[0]), parent=os.getpid())) - others:
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: ask(f"{server.url}/health")[1]["sessions"] == 0, 5.0)


def test_a_session_ended_by_the_server_is_said_so(desk: Desk) -> None:
    desk.start("Use the sample clip")
    with desk.page.expect_request("**/sessions/*/events") as watched:
        desk.choose("Pass-through")
        desk.page.get_by_role("button", name="Stop").click()
        desk.start("Use the sample clip")
    status, _ = ask(watched.value.url.removesuffix("/events"), "DELETE")

    assert status == 200
    assert "ended" in desk.wait_for_message("session ended")
    assert desk.page.get_attribute("body", "data-state") == "idle"


def test_when_all_places_are_taken_the_page_waits_and_then_gets_in(browser: Browser, tmp_path: Path) -> None:
    config = tmp_path / "one.toml"
    config.write_text("[server]\ncapacity = 1\nretry_after_s = 2\n")
    command = server_command("--config", str(config))
    with chromium.serving(command, tmp_path / "server.log") as small, opened(browser, small) as second:
        with opened(browser, small) as first:
            first.start("Use the sample clip")
            second.page.get_by_role("button", name="Use the sample clip").click()
            assert "taken" in second.wait_for_message("Trying again in")
        second.page.wait_for_selector(LIVE, timeout=20_000)
        assert second.faults == []


def test_a_server_that_goes_away_is_said_so_and_found_again(browser: Browser, tmp_path: Path) -> None:
    port = chromium.free_port()
    command = [part.replace("{port}", str(port)) for part in server_command()]
    with chromium.serving(command, tmp_path / "first.log", port=port) as first, opened(browser, first) as desk:
        desk.start("Use the sample clip")
        first.process.kill()
        assert "does not answer" in desk.wait_for_message("Trying again in", within_s=10)
        with chromium.serving(command, tmp_path / "second.log", port=port):
            desk.page.get_by_role("button", name="Try now").click()
            desk.page.wait_for_selector(LIVE, timeout=20_000)
            shown = desk.seconds_shown()
            desk.wait_for(f"document.getElementById('result').currentTime > {shown} + 1")
        assert desk.faults == []
