"""The page as files: nothing from elsewhere, colours that can be read, every id that the scripts use."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "stream" / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
CSS = (PAGE / "style.css").read_text()
HTML = (PAGE / "index.html").read_text()


def _themes() -> dict[str, dict[str, str]]:
    light, dark = (dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{3,6});", block)) for block in CSS.split("}", 2)[:2])
    return {"light": light, "dark": {**light, **dark}}


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *[(text, ground) for text in ("ink", "soft") for ground in ("ground", "panel")],
        ("signal", "ground"),
        ("ground", "ink"),
        ("on-signal", "signal"),
    ],
)
def test_text_has_the_contrast_that_wcag_asks_for(theme: str, text: str, ground: str) -> None:
    colours = _themes()[theme]
    assert _contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("part", ["edge", "signal", "calm"])
def test_controls_and_marks_stand_out_from_the_ground(theme: str, part: str) -> None:
    colours = _themes()[theme]
    assert _contrast(colours[part], colours["ground"]) >= 3.0


@pytest.mark.parametrize("path", [PAGE / "index.html", PAGE / "style.css", *SCRIPTS], ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text().replace("http://www.w3.org/2000/svg", ""))
    assert addresses == []


def test_every_id_that_a_script_asks_for_is_in_the_page() -> None:
    ids = set(re.findall(r'\bid="([\w-]+)"', HTML))
    asked = {name for script in SCRIPTS for name in re.findall(r'\$\("([\w-]+)"\)', script.read_text())}
    assert asked <= ids
    assert len(asked) > 20


def test_every_control_has_a_name() -> None:
    for select in re.findall(r"<select id=\"([\w-]+)\"", HTML):
        assert re.search(rf"<label[^>]*>[^<]+<select id=\"{select}\"", HTML), select
    for button in re.findall(r"<button[^>]*>(.*?)</button>", HTML, re.DOTALL):
        assert re.sub(r"<svg.*?</svg>|<[^>]+>", "", button, flags=re.DOTALL).strip()


def test_the_page_says_that_the_result_is_synthetic() -> None:
    assert "What you see on the right is synthetic." in HTML
    assert 'id="tag"' in HTML
