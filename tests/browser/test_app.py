"""The app's main path, as a person walks it in a real Chromium."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from app.hints import HINTS
from cfbd_core import Audit
from tests.browser import driver
from tests.browser.driver import counts, go, move_slider, picture_of, visit, wait_until_idle

PICTURES = Path(__file__).resolve().parents[2] / "build" / "screenshots"
MOVES = (
    ("k", "ArrowRight", "Benign D_b"),
    ("gamma", "ArrowLeft", "Benign D_b"),
    ("q", "ArrowRight", "Top-q D_p"),
)
SIZES = {"wide": (1440, 900), "phone": (390, 844)}


def test_every_slider_changes_counts_and_charts_and_the_clean_csv_is_what_was_decided(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True).new_page()
    visit(page, url, "coarse")
    for slider, key, label in MOVES:
        before = counts(page)
        move_slider(page, slider, key, "consistency")
        assert counts(page)[label] != before[label], slider
    assert "k=6" in page.url
    assert "gamma=0.89" in page.url
    assert "q=51" in page.url

    go(page, "fine")
    before = counts(page)
    for _ in range(30):
        move_slider(page, "gamma_z", "ArrowLeft", "z")
        if counts(page)["Flagged"] > before["Flagged"]:
            break
    flagged = counts(page)["Flagged"]
    assert flagged > before["Flagged"]

    page.reload()
    driver.wait_for_title(page, "Fine stage")
    wait_until_idle(page)
    assert counts(page)["Flagged"] == flagged

    go(page, "pairs")
    assert page.get_by_text(f"{flagged:,} pairs match").count() == 1
    page.get_by_role("radio", name="Kept").or_(page.get_by_role("button", name="Kept")).first.click()
    page.get_by_text(f"{_pairs_of(audit) - flagged:,} pairs match").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    card = page.locator('[class*="st-key-decide_"]').first
    row = int((card.get_attribute("class") or "").split("st-key-decide_")[1].split()[0])
    card.get_by_role("button", name="Remove").click()
    page.get_by_text(f"{_pairs_of(audit) - flagged - 1:,} pairs match").wait_for(timeout=driver.SLOW)
    removed = Audit.open(audit).pairs(f"row = {row}").to_pylist()[0]
    assert removed["decision"] == "remove"

    go(page, "export")
    page.locator(".st-key-write button").click()
    button = page.locator(".st-key-download button")
    button.wait_for(timeout=120_000)
    with page.expect_download() as download:
        button.click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = Audit.open(audit).pairs("final = 'kept'", order_by="row")["key"].to_pylist()
    assert [row["key"] for row in rows] == kept
    assert len(rows) == _pairs_of(audit) - flagged - 1
    assert removed["key"] not in kept
    assert all(Path(row["image"]).is_file() for row in rows[:50])


def _pairs_of(audit: Path) -> int:
    return Audit.open(audit).state.pair_count()


def test_going_back_is_one_press_a_page_whatever_was_changed_on_it(browser, opened):
    url, _ = opened
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(url)
    driver.wait_for_title(page, "Coarse stage")
    wait_until_idle(page)
    move_slider(page, "q", "ArrowRight", "consistency")
    assert "q=51" in page.url
    go(page, "groups")
    page.get_by_role("button", name="Look at them").first.click()
    page.get_by_text("pairs match").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    assert "group=" in page.url
    assert page.evaluate("history.length") == 4  # the empty page, and one of each
    for title in ("Suspected targets", "Coarse stage"):
        page.go_back()
        driver.wait_for_title(page, title)
        wait_until_idle(page)
    assert counts(page)["Top-q D_p"] == 51
    page.go_forward()
    driver.wait_for_title(page, "Suspected targets")


def test_a_preview_is_seen_by_its_session_and_by_who_gets_its_link_alone(browser, opened):
    url, audit = opened
    mine, other = (browser.new_context(viewport={"width": 1440, "height": 900}).new_page() for _ in range(2))
    visit(mine, url, "coarse")
    move_slider(mine, "q", "ArrowRight", "consistency")
    mine.get_by_text("Sliders of this session").wait_for(timeout=driver.SLOW)
    visit(other, url, "coarse")
    assert counts(other)["Top-q D_p"] == 50
    assert other.get_by_text("As stored in the audit").count() == 1
    other.goto(mine.url)
    driver.wait_for_title(other, "Coarse stage")
    wait_until_idle(other)
    assert counts(other)["Top-q D_p"] == 51
    assert other.get_by_text("Sliders of this session").count() == 1
    assert Audit.open(audit).state.applied_params().q == 50


def test_undo_takes_a_decision_back(browser, opened):
    url, audit = opened
    page = browser.new_page()
    visit(page, url, "pairs")
    before = Audit.open(audit).report()["flagged"]
    page.locator('[class*="st-key-decide_"]').first.get_by_role("button", name="Keep").click()
    page.get_by_text(f"{before - 1:,} pairs match").wait_for(timeout=driver.SLOW)
    page.locator(".st-key-undo_button button").click()
    page.get_by_text(f"{before:,} pairs match").wait_for(timeout=driver.SLOW)
    assert Audit.open(audit).report()["flagged"] == before


def test_pointing_at_the_map_shows_the_picture(browser, opened):
    url, _ = opened
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    visit(page, url, "map")
    assert page.get_by_text("Not drawn yet").count() == 1
    page.get_by_role("button", name="Make the map").click()
    page.locator(".st-key-make_map button").click()
    page.locator(".st-key-chart_map .js-plotly-plot").wait_for(timeout=240_000)
    wait_until_idle(page)
    box = page.locator(".st-key-chart_map .js-plotly-plot .nsewdrag").first.bounding_box()
    tip = page.locator(".cfbd-tip")
    for step in range(400):
        x = box["x"] + box["width"] * (0.1 + 0.8 * (step % 20) / 20)
        y = box["y"] + box["height"] * (0.1 + 0.8 * (step // 20) / 20)
        page.mouse.move(x, y)
        if tip.first.is_visible():
            break
    assert tip.first.is_visible()
    assert "data:image/webp" in tip.first.locator("div").first.evaluate("tile => tile.style.backgroundImage")
    assert "z " in tip.first.inner_text()
    page.screenshot(path=_place("map_hover.png"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_drawn_without_error_overflow_or_a_request_to_elsewhere(
    browser, opened_worked_on, size, scheme
):
    url, audit = opened_worked_on
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda request: None if _is_ours(request.url, url) else elsewhere.append(request.url))
    for name in driver.HEADINGS:
        visit(page, url, name)
        assert page.locator('[data-testid="stException"]').count() == 0, name
        assert page.locator('[data-testid="stAlertContentError"]').count() == 0, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name == "map":
            assert _points_on_the_map(page) > 900
        if name == "log":
            assert page.locator(".cfbd-action").count() == len(Audit.open(audit).history()) > 5
        page.screenshot(path=_place(f"{name}_{size}_{scheme}.png"))
        _take_whole(page, name, size, scheme, width)
    assert elsewhere == []


def _points_on_the_map(page) -> int:
    """How many points the map's chart holds, once it is drawn."""
    page.locator(".st-key-chart_map .js-plotly-plot").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    return int(
        page.evaluate(
            "() => document.querySelector('.st-key-chart_map .js-plotly-plot')._fullData"
            ".filter((trace) => trace.mode === 'markers').reduce((sum, trace) => sum + trace._length, 0)"
        )
    )


def _take_whole(page, name: str, size: str, scheme: str, width: int) -> None:
    """A second picture, of the page's whole length: Streamlit scrolls inside, so the window is made tall."""
    length = page.evaluate("document.querySelector('[data-testid=\"stMainBlockContainer\"]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(6000, int(length) + 40)})
    wait_until_idle(page)
    page.screenshot(path=_place(f"{name}_{size}_{scheme}_whole.png"))
    page.set_viewport_size({"width": width, "height": SIZES[size][1]})


def _is_ours(request: str, url: str) -> bool:
    return request.startswith((url, url.replace("http", "ws"), "data:", "blob:"))


def _place(name: str) -> str:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return str(PICTURES / name)


def test_a_chart_offers_its_data(browser, opened):
    url, _ = opened
    page = browser.new_context(accept_downloads=True).new_page()
    visit(page, url, "coarse")
    assert picture_of(page, "consistency")
    with page.expect_download() as download:
        page.locator(".st-key-data_consistency button").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    total = sum(int(row[name]) for row in rows for name in ("benign", "top_q", "suspicious"))
    assert total == counts(page)["Pairs"]


def test_a_hint_is_shown_until_it_is_put_away_in_this_browser(browser, opened):
    url, _ = opened
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    visit(page, url, "coarse")
    hint = page.get_by_role("note")
    hint.get_by_role("button", name="Got it").click()
    hint.wait_for(state="hidden", timeout=driver.SLOW)
    page.reload()
    driver.wait_for_title(page, "Coarse stage")
    wait_until_idle(page)
    assert not hint.is_visible()
    visit(page, url, "fine")
    page.get_by_role("note").wait_for(timeout=driver.SLOW)


def test_every_page_has_a_hint():
    assert set(driver.HEADINGS.values()) == set(HINTS)
