"""Drive the app in Debian's Chromium: start the server, wait for pages, move sliders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from app import pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HEADINGS = {page.name: page.head for page in pages.PAGES}
SLOW = 30_000  # ms: for a loaded machine; a test waits for what it needs, never for a time


@contextmanager
def app(root: Path, audit: Path, killed: bool = False) -> Iterator[str]:
    """Run ``cfbd app`` on ``audit``; yields its address. At the end it is asked to stop, or ``killed``."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "cfbd_core", "app", "--audit", str(audit), "--root", str(root)]
    log = (root / "app.log").open("wb")
    server = subprocess.Popen(
        [*command, "--port", str(port), "--no-browser"],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=root,
        env={**os.environ, "HOME": str(root)},
    )
    url = f"http://localhost:{port}"
    try:
        _wait_for(url, server, root / "app.log")
        yield url
    finally:
        server.send_signal(signal.SIGKILL if killed else signal.SIGINT)
        server.wait(20)
        log.close()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the app did not start: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def visit(page: Page, url: str, name: str, settle: bool = True) -> None:
    """Open a page of the app by its address and wait until it is drawn."""
    page.goto(f"{url}/{name}")
    wait_for_title(page, HEADINGS[name])
    if settle:
        wait_until_idle(page)


def go(page: Page, name: str) -> None:
    """Go to a page by the sidebar."""
    page.locator('[data-testid="stSidebarNav"] a').nth(list(HEADINGS).index(name)).click()
    wait_for_title(page, HEADINGS[name])
    wait_until_idle(page)


def wait_for_title(page: Page, title: str) -> None:
    """Wait for a page's heading."""
    page.locator("h1", has_text=title).first.wait_for(timeout=SLOW)


def wait_until_idle(page: Page) -> None:
    """Wait until no script runs, nothing is made in the background, and every chart is drawn."""
    page.wait_for_function(
        """() => {
          const app = document.querySelector('[data-testid="stApp"]');
          if (!app || app.dataset.testScriptState === 'running') return false;
          if (document.querySelector('[data-testid="stSkeleton"]')) return false;
          const told = [...document.querySelectorAll('[data-testid="stCaptionContainer"]')];
          if (told.some((words) => words.textContent.includes('You can go on meanwhile'))) return false;
          return [...document.querySelectorAll('[data-testid="stPlotlyChart"]')]
            .every((chart) => chart.querySelector('.main-svg'));
        }""",
        timeout=SLOW,
    )


def picture_of(page: Page, chart: str) -> str:
    """What a chart shows, as its SVG."""
    return str(
        page.evaluate(
            "name => [...document.querySelectorAll(`.st-key-chart_${name} .main-svg`)]"
            ".map((svg) => svg.innerHTML).join('')",
            chart,
        )
    )


def counts(page: Page) -> dict[str, int]:
    """The strip of counts by their labels."""
    found = page.evaluate(
        """() => [...document.querySelectorAll('.st-key-strip [data-testid="stMetric"]')].map((metric) => [
          metric.querySelector('[data-testid="stMetricLabel"]').innerText.trim(),
          metric.querySelector('[data-testid="stMetricValue"]').innerText.trim()])"""
    )
    return {label: int(number.replace(",", "")) for label, number in found}


def move_slider(page: Page, name: str, key: str, chart: str) -> float:
    """Press an arrow key on a slider; seconds until the chart shows another picture."""
    thumb = page.locator(f".st-key-slider_{name} input[type=range]")
    thumb.evaluate("thumb => thumb.focus()")
    before = picture_of(page, chart)
    began = time.perf_counter()
    page.keyboard.press(key)
    page.wait_for_function(
        "([name, before]) => [...document.querySelectorAll(`.st-key-chart_${name} .main-svg`)]"
        ".map((svg) => svg.innerHTML).join('') !== before",
        arg=[chart, before],
        timeout=SLOW,
    )
    took = time.perf_counter() - began
    wait_until_idle(page)
    return took
