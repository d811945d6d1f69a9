"""The workbench in a real Chromium: decisions by key, the lasso, views, two people at once, the app killed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from playwright.sync_api import Page, TimeoutError

from cfbd_core import Audit
from cfbd_core.html_report import write_html_report
from cfbd_core.workbench.explorer import Explorer
from tests.browser import driver
from tests.browser.driver import go, visit, wait_until_idle

WIDE = {"width": 1440, "height": 900}
PAIRS = 30


def decisions(audit: Path) -> list[str]:
    """What stands for the flagged pairs, in the order in which they are reviewed."""
    found: list[str] = (
        Audit.open(audit).pairs("verdict = 'poisoned'", order_by="z DESC, row")["decision"].to_pylist()
    )
    return found


def place(page: Page) -> str:
    """Which pair is shown, of how many."""
    return page.locator("[data-testid=stProgress]").inner_text().split("·")[0].strip()


def press(page: Page, key: str, at: str) -> None:
    """Press a key, once the page is at rest, until the pair with this number is shown: a page on its way hears none."""
    shown = page.get_by_text(f"pair {at} of").first
    for _ in range(3):
        wait_until_idle(page)
        page.keyboard.press(key)
        try:
            shown.wait_for(timeout=driver.SLOW / 2)
        except TimeoutError:
            continue
        return
    shown.wait_for(timeout=1)


def test_thirty_pairs_are_decided_by_key_with_undo_and_keys_are_dead_while_typing(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    assert place(page).startswith("pair 1 of")
    keys = ["xkux"[number % 4] for number in range(PAIRS)]
    for number, key in enumerate(keys):
        press(page, key, f"{number + 2:,}")
    names = {"x": "remove", "k": "keep", "u": "unsure"}
    assert decisions(audit)[:PAIRS] == [names[key] for key in keys]
    press(page, "z", f"{PAIRS}")
    assert decisions(audit)[PAIRS - 1] == ""
    press(page, "k", f"{PAIRS + 1}")
    assert decisions(audit)[PAIRS - 1] == "keep"
    press(page, "ArrowLeft", f"{PAIRS}")
    press(page, "n", f"{PAIRS + 1}")

    wait_until_idle(page)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for(timeout=driver.SLOW)
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached", timeout=driver.SLOW)
    page.get_by_text("You", exact=True).click()
    name = page.get_by_role("textbox", name="Your name")
    name.press_sequentially("kuzx")
    name.press("Enter")
    wait_until_idle(page)
    assert place(page).startswith(f"pair {PAIRS + 1} of")
    assert decisions(audit)[PAIRS] == ""
    page.locator("h1").click()
    press(page, "x", f"{PAIRS + 2}")
    assert Audit.open(audit).history(1)[0].who == "kuzx"


def test_keys_that_come_too_early_decide_on_no_pair_that_was_not_seen_and_that_is_said(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)

    def shows(number: int) -> None:
        """Wait until this pair is shown and stays: what was held has been pressed by then."""
        deadline, looks = time.monotonic() + driver.SLOW / 1000, 0
        while looks < 10 and time.monotonic() < deadline:
            page.wait_for_timeout(100)
            looks = looks + 1 if place(page).startswith(f"pair {number} of") else 0
        assert looks == 10
        wait_until_idle(page)

    for key in "xk":  # at once: the second is not for the next pair
        page.keyboard.press(key)
    assert "Not taken" in page.locator(".cfbd-missed").inner_text()
    shows(2)
    assert decisions(audit)[:3] == ["remove", "", ""]
    for key in "kz":  # an undo is for what was pressed before it
        page.keyboard.press(key)
    shows(2)
    assert decisions(audit)[:3] == ["remove", "", ""]
    for key in "nn":
        page.keyboard.press(key)
    shows(4)
    page.locator('[class*="st-key-review_decide_unsure_"] button').dblclick()
    shows(5)
    assert decisions(audit)[:6] == ["remove", "", "", "unsure", "", ""]
    state = "document.querySelector('[data-testid=stApp]').dataset.testScriptState"
    page.evaluate(f"() => {{ {state} = 'running' }}")
    page.keyboard.press("k")  # the pair is on the screen, whatever the page is at
    shows(6)
    assert decisions(audit)[4:6] == ["keep", ""]
    page.evaluate(f"() => {{ {state} = 'running' }}")
    for key in "wkz":  # letters of a note whose field is not there yet
        page.keyboard.press(key)
    page.evaluate(f"() => {{ {state} = 'notRunning' }}")
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Note'", timeout=driver.SLOW)
    shows(6)
    assert decisions(audit)[4:6] == ["keep", ""]


FRONT = """() => [...document.querySelectorAll('.st-key-review_pairs .cfbd-review')]
  .filter((one) => one.offsetParent).map((one) => Number(one.dataset.shown))"""


def test_keys_at_four_a_second_decide_on_what_was_seen_or_are_told_not_to(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    page.wait_for_timeout(500)
    wanted, missed = {}, 0
    for number in range(16):
        (row,), key = page.evaluate(FRONT), "xku"[number % 3]
        page.keyboard.press(key)
        told = page.locator(".cfbd-missed:not([hidden])")
        count = int((re.search(r"^(\d+) presses", told.inner_text()) or [0, 1])[1]) if told.count() else 0
        if count in (0, missed):
            assert row not in wanted
            wanted[row] = {"x": "remove", "k": "keep", "u": "unsure"}[key]
        missed = count
        page.wait_for_timeout(250)
    assert len(wanted) >= 7  # those that the page held ready, however slow the server is
    page.wait_for_function("() => !document.querySelector('.cfbd-waiting')", timeout=driver.SLOW)
    deadline = time.monotonic() + driver.SLOW / 1000
    while time.monotonic() < deadline and len(Audit.open(audit).history()) < len(wanted):
        time.sleep(0.2)
    pairs = Audit.open(audit).pairs("decision <> ''").to_pydict()
    assert dict(zip(pairs["row"], pairs["decision"], strict=True)) == wanted


def test_help_and_messages_leave_the_page_its_style(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    wait_until_idle(page)

    def is_styled() -> bool:
        return bool(
            page.evaluate("() => getComputedStyle(document.querySelector('.cfbd-front')).display === 'grid'")
        )

    assert is_styled()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    assert is_styled()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached", timeout=driver.SLOW)
    wait_until_idle(page)
    assert is_styled()
    Audit.open(audit).decide_rows(np.array(page.evaluate(FRONT)), np.array([1], np.int8), who="Ada")
    page.keyboard.press("x")
    page.get_by_text("meanwhile").first.wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    assert is_styled()
    assert place(page).startswith("pair 1 of")
    press(page, "x", "2")  # the decision of the other was seen, and is overruled
    assert decisions(audit)[:2] == ["remove", ""]


def test_a_note_is_written_without_the_mouse_and_no_letter_of_it_is_a_key(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    page.keyboard.press("w")
    field = page.get_by_role("textbox", name="Note")
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Note'", timeout=driver.SLOW)
    field.press_sequentially("kux? n")
    page.wait_for_timeout(300)
    assert place(page).startswith("pair 1 of")
    field.press("Enter")
    page.wait_for_function("() => document.activeElement.tagName !== 'INPUT'", timeout=driver.SLOW)
    press(page, "x", "2")
    (action,) = Audit.open(audit).history()
    assert (action.decision, action.note) == ("remove", "kux? n")
    assert field.input_value() == ""
    press(page, "p", "1")
    page.wait_for_function(
        "() => document.querySelector('[class*=st-key-review_note_] input').value === 'kux? n'",
        timeout=driver.SLOW,
    )


def test_what_is_outlined_on_the_map_is_decided_on_at_once(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "map")
    page.get_by_role("button", name="Make the map").click()
    page.locator(".st-key-make_map button").click()
    page.locator(".st-key-chart_map .js-plotly-plot").wait_for(timeout=240_000)
    wait_until_idle(page)
    page.locator(".st-key-chart_map").hover()
    page.locator('.st-key-chart_map [data-title="Lasso Select"]').click()
    box = page.locator(".st-key-chart_map .js-plotly-plot .nsewdrag").first.bounding_box()
    angles = np.linspace(0, 2 * np.pi, 30)
    points = [
        (
            box["x"] + box["width"] * (0.5 + 0.4 * np.cos(a)),
            box["y"] + box["height"] * (0.5 + 0.4 * np.sin(a)),
        )
        for a in angles
    ]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()
    page.get_by_text("pairs outlined").wait_for(timeout=driver.SLOW)
    told = page.locator(".st-key-outlined").inner_text()
    count = int(told.split()[0].replace(",", ""))
    assert count > 0
    wait_until_idle(page)
    page.get_by_role("link", name="Look at them").click()
    page.get_by_text(f"{count:,} pairs match").wait_for(timeout=driver.SLOW)
    page.get_by_role("button", name=f"Decide on all {count:,}").click()
    page.locator(".st-key-all_unsure_filter button").click()
    page.get_by_text(f"{count:,} pairs: unsure").first.wait_for(timeout=driver.SLOW)
    (action,) = Audit.open(audit).history()
    assert (action.pairs, action.decision) == (count, "unsure")
    assert action.filter is not None
    assert action.filter["lasso"].startswith("captions@")
    page.locator(".st-key-undo_button button").click()
    page.locator(".st-key-redo_button button:not([disabled])").wait_for(timeout=driver.SLOW)
    assert not Audit.open(audit).columns.decided_rows()[0].size


def test_an_address_reopens_a_view_for_someone_else(browser, opened):
    url, _ = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "pairs")
    page.get_by_label("Search").fill("banana")
    page.get_by_label("Search").press("Enter")
    page.get_by_role("button", name="“banana”").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    assert parse_qs(urlsplit(page.url).query)["text"] == ["banana"]
    told = page.get_by_text("pairs match").inner_text()
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name", exact=True).fill("bananas")
    page.get_by_label("Name", exact=True).press("Enter")
    page.locator(".st-key-save_view button").click()
    page.locator(".st-key-view_0 button").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)

    other = browser.new_context(viewport=WIDE).new_page()
    other.goto(page.url)
    other.get_by_role("button", name="“banana”").wait_for(timeout=driver.SLOW)
    assert other.get_by_text("pairs match").inner_text() == told
    other.get_by_role("button", name="“banana”").click()
    other.get_by_role("button", name="“banana”").wait_for(state="detached", timeout=driver.SLOW)
    wait_until_idle(other)
    other.get_by_role("button", name="Views").click()
    other.locator(".st-key-view_0 button").click()
    other.get_by_role("button", name="“banana”").wait_for(timeout=driver.SLOW)


def test_two_people_at_once_lose_no_decision(browser, opened):
    url, audit = opened
    people = [browser.new_context(viewport=WIDE).new_page() for _ in range(2)]
    for page, order in zip(people, ("z-down", "z-up"), strict=True):
        page.goto(f"{url}/review?show=removed&sort={order}")
        page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
        wait_until_idle(page)
    for number in range(8):
        for page in people:
            press(page, "x", f"{number + 2}")
    deadline = time.monotonic() + driver.SLOW / 1000
    while time.monotonic() < deadline and decisions(audit).count("remove") < 16:
        time.sleep(0.2)
    stood = decisions(audit)
    assert stood[:8] == ["remove"] * 8
    assert (
        stood.count("remove") == 16
    )  # those of the other end: pairs with equal z may be in another order there
    assert len(Audit.open(audit).history()) == 16


def test_an_app_that_is_killed_loses_no_decision(browser, demo, tmp_path):
    import shutil

    audit = tmp_path / "audits" / "demo"
    shutil.copytree(demo, audit)
    page = browser.new_context(viewport=WIDE).new_page()
    with driver.app(tmp_path, audit, killed=True) as url:
        visit(page, url, "review")
        page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
        for number in range(3):
            press(page, "k", f"{number + 2}")
    assert decisions(audit)[:3] == ["keep"] * 3
    with driver.app(tmp_path, audit) as url:
        visit(page, url, "review")
        page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
        assert Audit.open(audit).report()["flagged"] == len(decisions(audit)) - 3
        go(page, "log")
        page.get_by_text("3 actions").wait_for(timeout=driver.SLOW)


def test_a_group_shows_what_its_pictures_share(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "groups")
    page.get_by_text("poison-like").first.wait_for(timeout=driver.SLOW)
    page.locator('[class*="st-key-share_"] label').first.click()
    page.locator(".cfbd-shared img").first.wait_for(timeout=120_000)
    wait_until_idle(page)
    truth = json.dumps(Audit.open(audit).report()["truth"])
    assert '"tpr": 1.0' in truth
    assert page.locator(".cfbd-shared figure").count() >= 3


def test_cards_that_are_pressed_quickly_are_all_stored_once(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "pairs")
    cards = page.locator('[class*="st-key-decide_"]')
    cards.nth(9).wait_for(timeout=driver.SLOW)
    before = len(Audit.open(audit).history())
    for number in range(10):
        cards.nth(number).get_by_role("button", name="?").click()
        page.wait_for_timeout(100)
    wait_until_idle(page)
    page.wait_for_function(
        "() => document.querySelectorAll('.cfbd-decide [aria-pressed=true]').length === 10",
        timeout=driver.SLOW,
    )
    assert sorted(decisions(audit), reverse=True)[:10] == ["unsure"] * 10
    assert len(Audit.open(audit).history()) == before + 10


def test_a_picture_opens_its_pair_which_leads_to_its_review_and_its_like(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "pairs")
    picture = page.get_by_role("button", name="Open this pair").nth(2)
    picture.click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".cfbd-large img").wait_for(timeout=driver.SLOW)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached", timeout=driver.SLOW)
    wait_until_idle(page)
    picture.click()  # the same one again
    dialog.get_by_role("button", name="Review from here").click()
    driver.wait_for_title(page, "Review")
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    assert place(page).startswith("pair 3 of")
    assert dialog.count() == 0
    press(page, "x", "4")
    assert decisions(audit)[:4] == ["", "", "remove", ""]
    go(page, "pairs")
    picture.click()
    dialog.get_by_role("button", name="by picture").click()
    page.get_by_text("100 pairs match").wait_for(timeout=driver.SLOW)
    wait_until_idle(page)
    assert dialog.count() == 0
    assert parse_qs(urlsplit(page.url).query)["like"][0].startswith("image:")


def test_keys_are_heard_after_an_order_was_chosen(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport=WIDE).new_page()
    visit(page, url, "review")
    page.get_by_role("radio", name="Control sample").or_(
        page.get_by_role("button", name="Control sample")
    ).first.click()
    page.get_by_role("button", name="Draw a control sample").click()
    page.get_by_text("pair 1 of").first.wait_for(timeout=driver.SLOW)
    page.get_by_role("radio", name="As filtered").or_(
        page.get_by_role("button", name="As filtered")
    ).first.click()
    page.locator(".cfbd-large img").first.wait_for(timeout=driver.SLOW)
    before = decisions(audit).count("remove")
    press(page, "x", "2")
    assert decisions(audit).count("remove") == before + 1


def test_a_report_opens_by_itself_and_asks_for_nothing(browser, opened, tmp_path):
    _, audit = opened
    out = tmp_path / "report.html"
    write_html_report(Explorer(Audit.open(audit)), out)
    page = browser.new_context(viewport=WIDE).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(out.as_uri())
    assert page.get_by_text("banana").count() > 0
    assert page.locator("svg").count() >= 2
    pictures = page.locator("img").evaluate_all("all => all.map(one => one.complete && one.naturalWidth > 0)")
    assert len(pictures) >= 8
    assert all(pictures)
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert [url for url in asked if url.startswith("file")] == [out.as_uri()]
