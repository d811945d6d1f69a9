"""The app's pages without a browser, on a toy audit."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import duckdb
import numpy as np
import pytest
from streamlit import config
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner_utils.script_run_context import RunLocation, ThreadState
from streamlit.testing.v1 import AppTest

from app.pages import PAGES
from app.waiting import previews
from cfbd_core import Audit, SplitParams
from cfbd_core.audit.scoring import MAPPING_NAME
from cfbd_core.config import EmbedParams
from cfbd_core.jobs import serve
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.workbench.explorer import Explorer
from tests.once import Once
from tests.toy import COLOURS, ToyEncoder, banana_caption, toy_caption, toy_picture

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
VIEWS = tuple(page.name for page in PAGES if page.name != "lab")
PAIRS, POISONS = 200, tuple(range(5, 200, 20))
HOSTILE = (
    "<script>window.owned = 1</script><b>bold</b>",
    "**bold** [link](http://example.com) $x^2$ :red[red] `code`",
    "\u202eright to left\u202c مرحبا",
    "long " * 2000,
    "zero\u200bwidth",
    ":rocket: :material/home: &lt; a -> b www.example.com",
)


def write_source(
    folder: Path, poisons: tuple[int, ...] = POISONS, truth: bool = True, pairs: int = PAIRS
) -> Path:
    """A CSV of toy pairs, the last captions hostile, and every key."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption", *(["poisoned"] if truth else [])])
        for index in range(pairs):
            colour = list(COLOURS)[index % len(COLOURS)]
            toy_picture(colour, rng).save(folder / f"{index:04d}.png")
            caption = banana_caption(index) if index in poisons else toy_caption(colour, rng)
            if PAIRS > index >= PAIRS - len(HOSTILE):
                caption = HOSTILE[index - PAIRS + len(HOSTILE)]
            row = [f"k<b>:tada:{index:04d}", f"{index:04d}.png", caption]
            writer.writerow([*row, *([int(index in poisons)] if truth else [])])
    return folder / "pairs.csv"


def make_audit(folder: Path, source: Path, mapping: str | Path = "self", split: bool = True) -> Audit:
    """An audit of ``source``; F is trained on it unless the file of one is given, which is much quicker."""
    audit = Audit.create(folder)
    audit.ingest(source)
    audit.embed(ToyEncoder(), EmbedParams(shard_size=64, batch_size=32))
    audit.score(str(mapping))
    if split:
        audit.split(SplitParams(k=2, q=8))
    return audit


def alter(audit: Audit, statement: str) -> None:
    """Run SQL on an audit's file."""
    with duckdb.connect(str(audit.folder / "audit.duckdb")) as connection:
        connection.execute(statement)


def cards(test: AppTest) -> list[dict[str, Any]]:
    """The cards of a gallery, as its script gets them."""
    return [card for given in data_of(test, "cfbd_cards") for card in given["cards"]]


def press(test: AppTest, decision: str, row: int) -> AppTest:
    """Press a card's button, as its script tells of it: AppTest knows no scripts in a browser."""
    (card,) = [card for card in cards(test) if card["row"] == row]
    seen = card["decided"]
    what = {"row": row, "key": card["key"], "decision": "" if seen == decision else decision, "seen": seen}
    return trigger(test, "cfbd_cards", "decide", [what | {"id": uuid4().hex}])


def data_of(test: AppTest, component: str) -> list[Any]:
    """What each component of this name was given."""
    return [json.loads(part.proto.mixed.json or part.proto.json) for part in _components(test, component)]


def trigger(test: AppTest, component: str, event: str, value: Any) -> AppTest:
    """Let the one component of this name tell of an event."""
    (part,) = _components(test, component)
    states = test._tree.get_widget_states()
    state = states.widgets.add(id=_make_trigger_id(part.proto.id, "events"))
    state.json_trigger_value = json.dumps([{"event": event, "value": value}])
    return test._run(states)


def _components(test: AppTest, name: str) -> list[Any]:
    return [part for part in test.get("bidi_component") if part.proto.component_name == name]


def address(test: AppTest) -> dict[str, str]:
    """The parameters that a page puts into the browser's address."""
    return dict(parse_qsl(data_of(test, "cfbd_address")[-1]["query"]))


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def decide_button(test: AppTest, decision: str) -> Any:
    """The button of the page Review that decides on the pair that is shown."""
    return next(one for one in test.button if (one.key or "").startswith(f"review_decide_{decision}_"))


def words(test: AppTest) -> str:
    """What a page says in Markdown, its escapes taken out."""
    parts = [*test.markdown, *test.caption, *test.error, *test.warning, *test.success, *test.toast]
    return " ".join(str(part.value) for part in parts).replace("\\", "").replace("\u2060", "")


def _fit(values: np.ndarray, k: int, seed: int = 0) -> Mixture:
    """``fit_mixture``, once for the copies of an audit."""
    name = values.tobytes(), k, seed
    if name not in _fits:
        _fits[name] = fit_mixture(values, k, seed=seed)
    return _fits[name]


_fits: dict[tuple[bytes, int, int], Mixture] = {}


@pytest.fixture(scope="session", autouse=True)
def _no_magic() -> None:
    """As the app is run; and by its magic, Streamlit parses a page, which Python 3.11 cannot do in two threads."""
    config.set_option("runner.magicEnabled", serve.OPTIONS["runner.magicEnabled"])


@pytest.fixture(scope="session")
def _made(once: Once) -> Path:
    return once("app", lambda root: make_audit(root / "audits" / "toy", write_source(root / "source")))


@pytest.fixture
def root(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the audit ``audits/toy`` and its source; the app may touch nothing else."""
    folder = tmp_path / "root"
    shutil.copytree(_made / "audits", folder / "audits")
    (folder / "source").mkdir()  # its pictures stay where they are: the audit names them by their whole paths
    shutil.copy(_made / "source" / "pairs.csv", folder / "source")
    monkeypatch.setenv("CFBD_APP_ROOTS", os.path.realpath(folder))
    monkeypatch.setenv("CFBD_APP_AUDIT", os.path.realpath(folder / "audits" / "toy"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("cfbd_core.workbench.explorer.fit_mixture", _fit)
    monkeypatch.setattr(previews, "WAIT_SECONDS", 60.0)  # a test has no browser that looks again
    monkeypatch.setattr(Explorer, "warm", lambda *_: None)  # fits for K that no test asks for, ten a test
    # A search through all that is installed, a third of a second for every page.
    monkeypatch.setattr(BidiComponentManager, "discover_and_register_components", lambda *_, **__: None)
    return folder


@pytest.fixture(autouse=True)
def callbacks_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a callback of a part of a page draws takes the place of what stands first in the page, its stylesheet."""
    drawn: list[str] = []

    def watched(draw: Callable[..., Any]) -> Callable[..., Any]:
        def watching(self: DeltaGenerator, *given: Any, **named: Any) -> Any:
            in_callback = ThreadState.get().run_location is RunLocation.CALLBACK
            if in_callback and given[:1] != ("empty",):  # that of st.rerun
                drawn.append(str(given[:1]))
            return draw(self, *given, **named)

        return watching

    for name in ("_enqueue", "_block"):
        monkeypatch.setattr(DeltaGenerator, name, watched(getattr(DeltaGenerator, name)))
    yield
    assert drawn == []


@pytest.fixture
def audit(root: Path) -> Audit:
    return Audit.open(root / "audits" / "toy")


@pytest.fixture
def mapping(root: Path) -> Path:
    """The file of a trained F."""
    return root / "audits" / "toy" / MAPPING_NAME


@pytest.fixture
def page() -> Callable[..., AppTest]:
    """Open a page by its name; query parameters by keyword."""

    def opened(name: str, **query: str) -> AppTest:
        test = AppTest.from_file(str(MAIN), default_timeout=60)
        for key, value in query.items():
            test.query_params[key] = value
        test.switch_page(f"views/{name}.py")
        return test.run()

    return opened


@pytest.fixture
def started(monkeypatch) -> list:
    """The jobs that were asked for; none is run."""
    calls: list = []
    monkeypatch.setattr("cfbd_core.jobs.jobs.Jobs.start", lambda self, *asked: calls.append(asked))
    return calls


@pytest.fixture
def home(audit) -> Path:
    """The audit's folder as the app knows it."""
    return audit.folder.resolve()
