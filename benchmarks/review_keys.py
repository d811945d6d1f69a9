"""What one key costs the server on the page Review of a large audit: from its press to the next pair's being sent.

    python benchmarks/review_keys.py [--n 3300000] [--keys 20] [--audit DIR]

Without ``--audit`` a scored audit of N pairs with random embeddings, 64 wide, and no pictures is made in a temporary
folder. With ``--audit`` its decisions are changed: give a copy. A key is a rerun of the page's part, as the browser
asks for it (streamlit.testing, without a browser or its network); beside it stands a rerun of a part that holds a
button and nothing else, in the same process. What fills in later goes on in its thread meanwhile, as it does in use.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.testing.v1 import AppTest

from benchmarks.decisions import make_audit
from cfbd_core import Audit
from cfbd_core.store import queries

WIDTH, SHARD_ROWS = 64, 2**17
MAIN = Path(__file__).resolve().parents[1] / "app" / "main.py"
BAR = 250  # ms, of which the browser needs a part


def empty() -> None:
    """A page that is one part with a button."""
    import streamlit as st

    @st.fragment
    def part() -> None:
        st.button("Press", key="press")

    part()


def with_embeddings(audit: Audit, n: int) -> Audit:
    """Give the audit random embeddings."""
    rng = np.random.default_rng(0)
    shards = audit.shards
    shards.write_plan({"rows": n, "shard_size": SHARD_ROWS})
    for number, start in enumerate(range(0, n, SHARD_ROWS)):
        rows = rng.standard_normal((2, min(SHARD_ROWS, n - start), WIDTH), np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        shards.write(number, *rows.astype(np.float16), stats={})
    with audit.files.database.writing() as connection:
        queries.set_meta(connection, "mapping", {"name": "none"})
    return audit


@contextmanager
def parts_only(test: AppTest) -> Iterator[None]:
    """Let a run be of the page's outermost part alone, as a press of a button in it is."""
    storage = test._fragment_storage
    (part,) = [name for name, parent in storage._parent_by_id.items() if parent is None]

    def of_part(**options: object) -> RerunData:
        return RerunData(**options, fragment_id_queue=[part])

    with patch("streamlit.testing.v1.local_script_runner.RerunData", of_part):
        yield


def measure(test: AppTest, button: str, presses: int) -> list[float]:
    """Milliseconds of each press of the button whose key begins so."""
    took = []
    with parts_only(test):
        for _ in range(presses):
            pressed = next(one for one in test.button if (one.key or "").startswith(button))
            pressed.click()
            began = time.perf_counter()
            test.run()
            took.append(1000 * (time.perf_counter() - began))
            assert not test.exception, test.exception
    return took


def told(name: str, took: list[float], reference: float) -> None:
    """One line: median and most, and the median in reruns of the empty part."""
    median = float(np.median(took))
    print(
        f"{name:44} median {median:6.0f} ms, most {max(took):6.0f} ms = {median / reference:6.1f} × the empty part",
        flush=True,
    )


def opened(folder: Path, order: str) -> AppTest:
    """The page Review on the audit, all pairs as its queue where ``order`` is "filter"."""
    os.environ.update(CFBD_APP_ROOTS=str(folder.parent), CFBD_APP_AUDIT=str(folder), HOME=str(folder.parent))
    test = AppTest.from_file(str(MAIN), default_timeout=600)
    for name, text in {"show": "all", "k": "2", "q": "500"}.items():  # sliders that a split can be made by
        test.query_params[name] = text
    test.switch_page("views/review.py")
    test.run()
    if order != "filter":
        test.segmented_control(key="review_order").set_value(order).run()
    assert not test.exception, test.exception
    assert not test.error, test.error[0].value
    return test


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=3_300_000)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--audit", type=Path)
    options = parser.parse_args()
    nothing = patch.object(BidiComponentManager, "discover_and_register_components", lambda *_, **__: None)
    with tempfile.TemporaryDirectory() as temporary, nothing:  # a server discovers once, a test every time
        folder = Path(temporary)
        audit = (
            Audit.open(options.audit)
            if options.audit
            else with_embeddings(make_audit(folder, options.n), options.n)
        )
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"bar {BAR} ms with the browser, on an idle machine")
        blank = AppTest.from_function(empty).run()
        reference = measure(blank, "press", options.keys)
        told("an empty part", reference, float(np.median(reference)))
        began = time.perf_counter()
        test = opened(audit.folder, "filter")
        took, queue = time.perf_counter() - began, test.session_state["review"]
        print(f"{len(queue):,} pairs in the queue, opened in {took:.1f} s")
        for name, button in (
            ("keep, to the next pair", "review_decide_keep_"),
            ("next", "review_next"),
            ("back", "review_previous"),
            ("undo", "review_undo"),
        ):
            told(name, measure(test, button, options.keys), float(np.median(reference)))
        test = opened(audit.folder, "control")
        test.button(key="left_draw_review").click().run()
        told(
            "keep, in the control sample",
            measure(test, "review_decide_keep_", options.keys),
            float(np.median(reference)),
        )


if __name__ == "__main__":
    main()
