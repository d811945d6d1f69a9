"""Exit with 1 where SQL is run outside ``cfbd_core/store/``: what no import tells (``make lint`` runs this).

python tools/check_sql.py [FOLDER]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

RUNS_SQL = {"execute", "executemany", "sql"}
STORE = Path("cfbd_core", "store")


def calls_of_sql(root: Path) -> Iterator[str]:
    """Yield ``FILE:LINE`` of each call of a connection's methods in the two packages, the store's own left out."""
    for package in ("cfbd_core", "app"):
        for path in sorted((root / package).rglob("*.py")):
            if path.relative_to(root).is_relative_to(STORE):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in RUNS_SQL:
                    yield f"{path.relative_to(root)}:{node.lineno}"


def main() -> int:
    """Print each place; the exit code is 1 where there is one."""
    places = list(calls_of_sql(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    for place in places:
        print(f"{place}: runs SQL; only cfbd_core/store/ does")
    return int(bool(places))


if __name__ == "__main__":
    sys.exit(main())
