"""Training as a person walks it: start a tiny run, watch it, stop, resume, compare it with another."""

from __future__ import annotations

import json
import re

import pytest

from app.training.runs import short
from tests.browser import driver
from tests.browser.driver import picture_of, visit, wait_until_idle
from tests.browser.test_app import SIZES, _place, _take_whole
from tests.training.tiny import tiny_folder

LOSS = ".st-key-live_train_loss"
DONE = 240_000  # ms


def ask(page, model: str, epochs: int) -> None:
    """Fill the form: another model, so many epochs."""
    field = page.get_by_role("combobox", name="Model", exact=True)
    field.click()
    field.fill(model)
    field.press("Enter")
    wait_until_idle(page)
    number = page.get_by_role("spinbutton", name="Epochs", exact=True)
    number.fill(str(epochs))
    number.press("Enter")
    wait_until_idle(page)


def live_loss(page) -> str:
    return page.evaluate(
        "place => document.querySelector(`${place} .scatterlayer path.js-line`).getAttribute('d')",
        LOSS,
    )


def watch(page) -> None:
    """Wait until the curve of the loss is longer than it was, and nothing has jumped."""
    page.wait_for_function(
        "place => document.querySelector(`${place} .scatterlayer path.js-line`)", arg=LOSS, timeout=DONE
    )
    before, place = live_loss(page), page.locator(LOSS).first.bounding_box()
    page.wait_for_function(
        "([place, before]) => { const line = document.querySelector(`${place} .scatterlayer path.js-line`);"
        "return line && line.getAttribute('d').length > before.length; }",
        arg=[LOSS, before],
        timeout=DONE,
    )
    assert page.locator(LOSS).first.bounding_box() == place


@pytest.mark.slow
def test_a_run_is_watched_stopped_resumed_and_compared(browser, opened):
    url, audit = opened
    tiny_folder(audit.parents[1] / "tiny")
    page = browser.new_context(viewport={"width": 1440, "height": 1100}).new_page()
    visit(page, url, "train")
    page.get_by_text("No run yet").wait_for()
    ask(page, "tiny", 12)
    page.get_by_text("from scratch").first.wait_for()
    assert page.get_by_text(re.compile(r"1\d\d steps")).count() == 1
    page.locator(".st-key-train_start button").click()
    watch(page)
    page.screenshot(path=_place("train_live.png"))
    page.locator('[class*="st-key-stop_"] button').click()  # Streamlit's own is called so, too
    page.get_by_text(re.compile(r"Stopped at step \d+ of 1\d\d")).first.wait_for(timeout=driver.SLOW)
    page.screenshot(path=_place("train_stopped.png"))
    page.get_by_role("button", name="Resume").first.click()
    watch(page)
    run = audit / "runs" / "train-kept-plain-tiny"
    page.locator(".st-key-train_start button").wait_for(timeout=DONE)
    assert json.loads((run / "result.json").read_text())["asr"] is not None
    steps = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"kind": "step"' in line]
    assert len(steps) == len(set(steps))

    page.get_by_text("All", exact=True).click()
    wait_until_idle(page)
    page.get_by_text(re.compile(r"pairs/s, as this model's last run here")).wait_for(timeout=driver.SLOW)
    page.locator(".st-key-train_start button").click()
    page.wait_for_function(
        "() => document.querySelector('.st-key-chart_train_compared')?.innerHTML.includes('No defence')",
        timeout=DONE,
    )
    wait_until_idle(page)
    compared = picture_of(page, "train_compared")
    assert "CFBD" in compared
    assert short(run.name) not in compared
    page.screenshot(path=_place("train_compared.png"), full_page=True)
    for size, (width, height) in SIZES.items():
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        visit(page, url, "train")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        _take_whole(page, "train_runs", size, "light", width)
