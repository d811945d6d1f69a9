"""The demo in a real Chromium: first paint of every page, and from a slider's move to the new picture.

    make app                      # once, for audits/demo
    python benchmarks/browser.py audits/demo

Works on a copy of the audit. A page's first paint is told for a new browser window (its address typed in)
until the heading stands, and until everything on the page, charts included, is drawn.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser import driver

SIZE = {"width": 1440, "height": 900}
MOVES = 6


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("audit", type=Path)
    source = parser.parse_args().audit
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        audit = Path(folder) / "audits" / "demo"
        shutil.copytree(source, audit)
        with driver.app(Path(folder), audit) as url, driver.chromium() as browser:
            for name in driver.HEADINGS:
                for visit in ("first visit", "again"):
                    page = browser.new_context(viewport=SIZE).new_page()
                    began = time.perf_counter()
                    driver.visit(page, url, name, settle=False)
                    painted = time.perf_counter() - began
                    driver.wait_until_idle(page)
                    drawn = time.perf_counter() - began
                    print(
                        f"{name:9} {visit:12} heading {painted:5.2f} s, all drawn {drawn:5.2f} s   (bar 2 s)"
                    )
                    page.context.close()
            page = browser.new_context(viewport=SIZE).new_page()
            for place, chart, sliders in (
                ("coarse", "consistency", ("k", "gamma", "q")),
                ("fine", "z", ("gamma_z",)),
            ):
                driver.visit(page, url, place)
                for slider in sliders:
                    keys = ["ArrowRight", "ArrowLeft"] * (MOVES // 2)
                    took = [driver.move_slider(page, slider, key, chart) for key in keys]
                    print(
                        f"slider {slider:8} median {np.median(took):.2f} s, most {max(took):.2f} s   (bar 0.5 s)"
                    )


if __name__ == "__main__":
    main()
