"""The attack lab as a person walks it: look at examples, write a copy, audit it."""

from __future__ import annotations

import json

import pytest

from tests.browser import driver
from tests.browser.driver import visit, wait_until_idle
from tests.browser.test_app import SIZES, _place, _take_whole


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    wait_until_idle(page)


def test_examples_are_seen_a_copy_is_written_and_its_audit_begins(browser, opened):
    url, audit = opened
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    visit(page, url, "lab")
    page.get_by_role("button", name="Take the demo's scenes").click()
    choose(page, "Attack", "WaNet")
    page.locator(".cfbd-example").nth(8).wait_for(timeout=driver.SLOW)
    widths = page.locator(".cfbd-example img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert widths == [224] * 27
    page.get_by_text("9 of 1,500 pairs (0.60%) will be poisoned").wait_for(timeout=driver.SLOW)

    page.locator(".st-key-lab_write button").click()
    button = page.get_by_role("button", name="Audit this copy")
    button.wait_for(timeout=240_000)
    copy = audit.parents[1] / "copies" / "demo-wanet-0.006"
    assert len(json.loads((copy / "manifest.json").read_text())["poisons"]) == 9
    page.get_by_text("Contact sheet").click()
    page.wait_for_function(
        "[...document.querySelectorAll('[data-testid=\"stImage\"] img')].some((one) => one.naturalWidth > 900)"
    )
    button.click()
    driver.wait_for_title(page, "Audits")
    page.get_by_text("audits/demo-wanet-0.006").first.wait_for(timeout=driver.SLOW)
    page.locator('[class*="st-key-stop_"] button').click()  # Streamlit's own is called so, too
    page.get_by_role("button", name="Go on").wait_for(timeout=driver.SLOW)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_filled_lab_is_drawn_without_overflow(browser, opened, size, scheme):
    url, _ = opened
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    visit(page, url, "lab")
    page.get_by_role("button", name="Take the demo's scenes").click()
    page.locator(".cfbd-example").nth(8).wait_for(timeout=driver.SLOW)
    for expander in ("How to read the source", "Parameters of BadNets", "Benign traps"):
        page.get_by_text(expander).click()
    wait_until_idle(page)
    page.get_by_role("spinbutton", name="Boilerplate captions").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=_place(f"lab_filled_{size}_{scheme}.png"))
    _take_whole(page, "lab_filled", size, scheme, width)
