"""The check of the rooms: it passes, and it sees what breaks it (the imports themselves are `make lint`'s)."""

from __future__ import annotations

from pathlib import Path

from tools.check_sql import calls_of_sql

ROOT = Path(__file__).resolve().parents[1]
LOOSE = {"__init__", "__main__", "config", "errors", "wording"}


def test_sql_is_run_in_the_store_alone(tmp_path) -> None:
    assert list(calls_of_sql(ROOT)) == []
    for name in ("cfbd_core/store/a.py", "cfbd_core/method/b.py", "app/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def f(connection):\n    return connection.execute('SELECT 1')\n")
    assert list(calls_of_sql(tmp_path)) == ["cfbd_core/method/b.py:2", "app/c.py:2"]


def test_few_modules_lie_loose() -> None:
    assert {path.stem for path in (ROOT / "cfbd_core").glob("*.py")} == LOOSE
