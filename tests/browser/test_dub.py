"""The dub on the page: what it offers and asks for, and how it shows a dub that is made up."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route

from benchmarks import chromium

pytestmark = pytest.mark.browser

_DUBBING = {
    "languages": [{"from": "en", "to": "es"}, {"from": "es", "to": "en"}],
    "voices": ["ada", "ben"],
    "warning": "a draft translation",
}
_DUB = {
    "from": "en",
    "to": "es",
    "video": "live",
    "state": "listening",
    "lag_ms": 2140,
    "target_lag_ms": 3000,
    "lag_max_ms": 6000,
    "tentative": "and then we",
    "captions": [{"id": 1, "source": "Good morning.", "target": "Buenos días.", "spoken": True}],
    "counts": {"clauses": 1, "echo": 0},
    "warnings": ["the translation is a draft"],
}
_SHOW = 'async (dub) => (await import("/static/dub.js")).showDub(dub, "/sessions/a")'


@pytest.fixture
def page(browser: Browser, server: chromium.ServerProcess) -> Iterator[Page]:
    """The page on a server that offers a dub."""

    def offer(route: Route) -> None:
        modes = ["pass-through", "re-voice", "dub"]
        body = {"modes": modes, "voices": [], "max_upload_bytes": 1000, "dubbing": _DUBBING}
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    fresh = browser.new_page(viewport={"width": 1280, "height": 1000})
    fresh.route("**/api/options", offer)
    fresh.goto(server.url)
    fresh.get_by_role("radio", name="Dub").check()
    yield fresh
    fresh.close()


def test_the_languages_are_offered_by_their_names(page: Page) -> None:
    assert page.locator("#dub-from").inner_text().split() == ["English", "Spanish"]
    assert page.locator("#dub-to").inner_text() == "Spanish"
    page.select_option("#dub-from", "es")
    assert page.locator("#dub-to").inner_text() == "English"
    assert page.locator("#dub-note").inner_text() == "a draft translation"


def test_the_voices_are_offered_and_one_can_be_chosen(page: Page) -> None:
    offered = page.locator("#dub-voices option").evaluate_all("(all) => all.map((each) => each.value)")
    assert offered == ["ada", "ben"]
    page.locator("#dub-voice").fill("ben")
    choice = page.evaluate('async () => (await import("/static/dub.js")).dubChoice()')
    assert choice["speaker_voice"] == "ben"


def test_a_caption_that_stays_is_not_written_again(page: Page) -> None:
    changes = page.evaluate(
        """async (dub) => {
            const { showDub } = await import("/static/dub.js");
            showDub(dub, "/sessions/a");
            const seen = new MutationObserver(() => {});
            for (const id of ["caption-source", "caption-target", "caption-tentative"])
                seen.observe(document.getElementById(id), { childList: true, characterData: true, subtree: true });
            showDub(dub, "/sessions/a");
            const same = seen.takeRecords().length;
            showDub({ ...dub, tentative: "and then" }, "/sessions/a");
            return [same, seen.takeRecords().length > 0];
        }""",
        _DUB,
    )
    assert changes == [0, True]


def test_the_choice_names_what_the_server_takes(page: Page) -> None:
    page.get_by_role("radio", name="together").check()
    choice = page.evaluate('async () => (await import("/static/dub.js")).dubChoice()')
    assert choice == {"mode": "dub", "from": "en", "to": "es", "video": "together", "speaker_voice": ""}


def test_a_dub_is_shown_with_captions_lag_warnings_and_downloads(page: Page) -> None:
    page.evaluate(_SHOW, _DUB)
    assert page.locator("#caption-target").text_content() == "Buenos días."
    assert page.locator("#caption-tentative").text_content() == "and then we"
    assert page.locator("#behind").inner_text() == "2.1"
    assert page.locator("#dub-warnings li").all_inner_texts() == ["the translation is a draft"]
    assert page.locator("#dub-files a").first.get_attribute("href") == "/sessions/a/captions?format=vtt&text=target"
    assert "late" not in (page.locator("#behind-meter").get_attribute("class") or "")


def test_a_lag_beyond_the_target_is_marked(page: Page) -> None:
    page.evaluate(_SHOW, {**_DUB, "lag_ms": 4000})
    assert "late" in (page.locator("#behind-meter").get_attribute("class") or "")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_of_a_dub_overflows(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate(_SHOW, _DUB)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
