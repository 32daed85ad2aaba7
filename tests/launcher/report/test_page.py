"""The report in a browser: it is read, clicked, printed, on light and dark screens, and shows a very large run at once."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from jobs.storage.rundir import RunDir
from launcher.report.report import write_report
from tests.support.large_run import EVIL, build_large_run

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_large_run(tmp_path_factory.mktemp("runs") / "nightly", 400, 40))


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """Fails where the page asks for anything but itself, or its script for what is not there."""
    page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert asked == [report.as_uri()]
    assert errors == []


def colour(page: Page, selector: str, what: str = "color") -> tuple[int, ...]:
    found = page.evaluate(
        "([s, w]) => getComputedStyle(document.querySelector(s))[w].match(/\\d+/g).slice(0, 3).map(Number)",
        [selector, what],
    )
    return tuple(found)


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """As WCAG has it."""
    bright, dark = sorted(map(_luminance, (one, other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(rgb: tuple[int, ...]) -> float:
    parts = [part / 255 for part in rgb]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_it_is_read(page: Page) -> None:
    assert page.title() == "nightly: failed"
    assert page.locator("h1").inner_text().split() == ["nightly", "failed"]
    assert page.locator("figure svg").count() == 4
    for number in range(4):
        box = page.locator("figure svg").nth(number).bounding_box()
        assert box
        assert box["width"] > 600
        assert box["height"] > 40
    assert page.locator("details.failure pre").filter(has_text=EVIL).count() > 0, "as text"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000


def test_it_is_clicked(page: Page) -> None:
    failure = page.locator("details.failure").nth(1)
    assert failure.get_attribute("open") is None
    failure.locator("summary").click()
    assert failure.locator("pre").first.is_visible()
    table = page.locator("#attempts table")
    ran = table.locator("th", has_text="ran")
    column = "td:nth-child(6)"
    for order in ("ascending", "descending"):
        ran.locator("button").click()
        assert ran.get_attribute("aria-sort") == order
        times = table.locator(column).all_inner_texts()
        assert times == sorted(times, reverse=order == "descending")
    page.locator("nav a", has_text="Provenance").click()
    assert page.url.endswith("#provenance")
    assert page.locator("#provenance h2").is_visible()


def test_a_bar_says_what_it_is(page: Page) -> None:
    bar = page.locator('figure svg [aria-label*="failed: CRASH"]').first
    bar.scroll_into_view_if_needed()
    bar.hover()
    assert "killed by signal 11" in page.locator("#tip").inner_text()
    page.locator("h1").hover()
    assert not page.locator("#tip").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_bars_stand_out_in_both_schemes(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    paper = colour(page, "body", "backgroundColor")
    assert (sum(paper) > 600) is (scheme == "light")
    assert contrast(colour(page, "body"), paper) >= 7
    for selector in (".muted", "figcaption", "th"):
        assert contrast(colour(page, selector), paper) >= 4.5, selector
    bars = 'figure svg path[fill="var(--done)"]'
    assert contrast(colour(page, bars, "fill"), paper) >= 3
    labels = colour(page, "figure svg .role-axis-label text", "fill")
    assert contrast(labels, paper) >= 4.5


def test_printed_it_is_dark_on_white_with_all_details(page: Page, tmp_path: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert colour(page, "body", "backgroundColor") == (255, 255, 255)
    assert colour(page, "body") == (0, 0, 0)
    assert not page.locator("nav").is_visible()
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.locator("details:not([open])").count() == 0


def test_without_colour_bad_ends_have_a_pattern(page: Page) -> None:
    fills = {
        str(path.get_attribute("aria-label")).split(", ")[1].split(":")[0].split(";")[0]: path.get_attribute("fill")
        for path in page.locator('#attempts figure svg path[aria-roledescription="bar"]').all()
    }
    assert fills == {"done": "var(--done)", "failed": "url(#failed)", "stopped": "url(#stopped)", "lost": "url(#lost)"}
    for name in ("failed", "stopped", "lost"):
        assert page.locator(f"pattern#{name}").count() == 1


def test_without_scripts_all_is_there(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("figure svg").count() == 4
    context.close()


def test_a_very_large_run_is_small_and_soon_there(browser: Browser, tmp_path: Path) -> None:
    run: RunDir = build_large_run(tmp_path / "large", 100_000, 1000)
    path = write_report(run)
    assert path.stat().st_size <= 10 << 20
    page = browser.new_page()
    began = time.monotonic()
    page.goto(path.as_uri())
    page.locator("#attempts th button").first.click()
    assert page.locator("#attempts th").first.get_attribute("aria-sort") == "ascending"
    seconds = time.monotonic() - began
    page.close()
    assert seconds <= 3
