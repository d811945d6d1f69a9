"""What an auditor waits for, in a real Chromium: a page of 60 pictures, a decision by key, one on 100,000 pairs.

    make app                                                      # once, for audits/demo
    python benchmarks/workbench.py audits/demo --bulk 1000
    python benchmarks/workbench.py build/large-audit --in-place   # tools/make_large_audit.py; decisions are added

Each figure is from the click or key until what it brings is on the screen with its pictures, timed in the browser; for
decisions that includes their being stored. "New" pages are seen for the first time: their thumbnails are made from
the pictures. Without ``--in-place`` it works on a copy of the audit.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cfbd_core import Audit
from cfbd_core.workbench.explorer import Explorer
from tests.browser import driver

SIZE = {"width": 1440, "height": 900}
TURNS = 6
KEYS = 20
SLOW = 120_000  # ms
_TIMED = """async ([act, is_there]) => {
  const run = (text) => Function(`return (${text})`)()();
  const began = performance.now();
  run(act);
  while (!run(is_there)) {
    if (performance.now() - began > 120000) throw new Error(`never came: ${is_there}`);
    await new Promise((done) => setTimeout(done, 4));
  }
  return performance.now() - began;
}"""
_FIRST = "document.querySelector('.cfbd-decide')?.className"
_SHOWN = "document.querySelector('[data-shown]')?.dataset.shown"


def timed(page: Page, act: str, is_there: str) -> float:
    """Milliseconds from what ``act`` does until ``is_there`` holds, both functions in JavaScript."""
    return float(page.evaluate(_TIMED, [act, is_there]))


def told(name: str, took: list[float], bar: str) -> None:
    """Print one line: median and maximum."""
    print(f"{name:34} median {np.median(took):7.0f} ms, most {max(took):7.0f} ms   (bar {bar})", flush=True)


def opened(page: Page, url: str, address: str) -> None:
    """Open a page of the app and wait until all is drawn."""
    page.goto(f"{url}/{address}")
    page.locator("h1").first.wait_for(timeout=SLOW)
    driver.wait_until_idle(page)


def turned(page: Page, button: str) -> float:
    """Turn a page of the gallery; until all its pictures are drawn."""
    before = page.evaluate(_FIRST)
    took = timed(
        page,
        f"() => document.querySelector('[data-testid={button}]').click()",
        f"() => {_FIRST} !== '{before}' && document.querySelectorAll('.cfbd-card').length === 60"
        " && [...document.querySelectorAll('.cfbd-card img')].every((one) => one.complete && one.naturalWidth)",
    )
    driver.wait_until_idle(page)
    return took


def gallery(page: Page, url: str) -> None:
    """Pages of 60, forward into what was not seen yet and back."""
    opened(page, url, "pairs?show=all")
    page.locator(".cfbd-card").nth(59).wait_for(timeout=SLOW)
    told("page of 60, new", [turned(page, "stPaginationNext") for _ in range(TURNS)], "500 ms")
    told("page of 60, seen before", [turned(page, "stPaginationPrev") for _ in range(TURNS)], "500 ms")


def keys(page: Page, url: str) -> None:
    """Decisions by key, until the next pair's picture is drawn."""
    opened(page, url, "review?show=all")
    page.locator("[data-shown] img").first.wait_for(timeout=SLOW)
    took = []
    for _ in range(KEYS):
        driver.wait_until_idle(page)
        page.wait_for_timeout(300)  # a reviewer looks at the pair
        before = page.evaluate(_SHOWN)
        took.append(
            timed(
                page,
                "() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'u', bubbles: true}))",
                f"() => {_SHOWN} && {_SHOWN} !== '{before}'"
                " && document.querySelector('[data-shown] img').complete",
            )
        )
    told("decision by key to the next pair", took, "250 ms")


def bulk(page: Page, url: str, explorer: Explorer, count: int) -> None:
    """One decision on the ``count`` pairs with the largest c, and its undo, until the page says so."""
    least, most = np.partition(explorer.consistency, -count)[-count], explorer.consistency.max()
    opened(page, url, f"pairs?show=all&c={float(least)!r}_{float(most)!r}")
    decided, undone = [], []
    for _ in range(3):
        page.get_by_role("button", name="Decide on all").click()
        page.get_by_role("button", name="All unsure").wait_for(timeout=SLOW)
        driver.wait_until_idle(page)
        undo = "document.querySelector('.st-key-undo_button button')"
        decided.append(
            timed(
                page,
                "() => document.querySelector('.st-key-all_unsure_filter button').click()",
                f"() => /unsure/.test({undo}?.innerText)",
            )
        )
        driver.wait_until_idle(page)
        page.keyboard.press("Escape")
        undone.append(timed(page, f"() => {undo}.click()", f"() => !/unsure/.test({undo}?.innerText)"))
        driver.wait_until_idle(page)
    told(f"decision on {count:,} pairs", decided, "2 s")
    told("its undo", undone, "2 s")


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("audit", type=Path)
    parser.add_argument("--bulk", type=int, default=100_000, help="pairs (100,000)")
    parser.add_argument("--in-place", action="store_true", help="no copy: decisions are added to this audit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        audit, root = options.audit.resolve(), Path(folder)
        if not options.in_place:
            audit = root / "audits" / "copy"
            shutil.copytree(options.audit, audit)
        explorer = Explorer(Audit.open(audit))
        load = os.getloadavg()[0]
        print(f"{len(explorer):,} pairs; {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
        with driver.app(root, audit) as url, driver.chromium() as browser:
            page = browser.new_context(viewport=SIZE).new_page()
            page.set_default_timeout(SLOW)
            gallery(page, url)
            keys(page, url)
            bulk(page, url, explorer, options.bulk)


if __name__ == "__main__":
    main()
