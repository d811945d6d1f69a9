"""docs/API.md names what is public, all of it and nothing else, and its example runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import cfbd_core
from cfbd_core import Audit
from tests.toy import ToyEncoder

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")


def test_it_is_what_its_tool_makes():
    spec = importlib.util.spec_from_file_location("make_api_page", ROOT / "tools" / "make_api_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.page() == PAGE, "run `python tools/make_api_page.py`"


def test_it_names_exactly_what_is_public():
    assert sorted(cfbd_core.__all__) == cfbd_core.__all__
    assert re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE) == cfbd_core.__all__
    (section,) = re.findall(r"^## `Audit`$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    named = re.findall(r"^- `(?:Audit)?\.(\w+)", section, re.MULTILINE)
    assert sorted(named) == [name for name in dir(Audit) if not name.startswith("_")]
    words = re.findall(r"^- `.*`\\\n  (.*)$", PAGE, re.MULTILINE)
    assert len(words) >= len(named)
    assert all(len(said) > 10 and said.endswith((".", "…")) for said in words)
    assert " at 0x" not in PAGE


def test_its_example_runs(toy_source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda spec, device: ToyEncoder())
    monkeypatch.chdir(toy_source(200, poisoned=tuple(range(5, 200, 20))).parent)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "API.md", "exec"), {})
    assert Path("clean.csv").is_file()
    assert capsys.readouterr().out.endswith("audits/nowhere` makes one\n")


def test_the_readme_and_the_guide_lead_to_it():
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        assert "](docs/API.md)" in (ROOT / name).read_text(encoding="utf-8"), name
