"""Write docs/API.md, the page of what is public in Python, from `cfbd_core.__all__` and the docstrings.

python tools/make_api_page.py

`tests/test_api_page.py` compares the page with what this makes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cfbd_core
from cfbd_core import Audit, CfbdError, SplitParams, errors

PLACE = Path(__file__).resolve().parents[1] / "docs" / "API.md"
STABLE = [
    "create",
    "open",
    "ingest",
    "embed",
    "score",
    "split",
    "report",
    "pairs",
    "export",
    "decide",
    "decide_rows",
    "undo",
    "redo",
    "history",
]
HEAD = """# What is public in Python

What `cfbd_core` lists in `__all__` is public; everything below it is the project's own and may change. Made by
`python tools/make_api_page.py` from the docstrings; a test compares them.

```python
import pyarrow as pa

from cfbd_core import Audit, CfbdError, SplitParams

audit = Audit.create("audits/mine")
audit.ingest("pairs.csv")
audit.embed()  # `mini`; audit.embed("ViT-B-32/laion2b_s34b_b79k") for a larger one
audit.score()
audit.split(SplitParams(q=20))
report = audit.report()
print(report["flagged"], report["evidence"]["level"])

worst = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=5)  # an Arrow table
audit.decide(pa.table({"key": worst["key"], "decision": ["keep"] * worst.num_rows}), note="looked at them")
audit.undo()
audit.export("clean.csv")

try:
    Audit.open("audits/nowhere")
except CfbdError as error:  # one line: what, where, what to do
    print(error)
```
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in cfbd_core.__all__:
        parts += [f"\n## `{name}`", *SECTIONS[name]()]
    return "\n".join(line.rstrip() for part in parts for line in part.rstrip().split("\n")) + "\n"


def _audit() -> Iterator[str]:
    yield _words(Audit)
    names = public(Audit)
    yield "\n### Stable\nScripts are written against these: names and arguments stay; more arguments may come."
    yield from (_method(Audit, name) for name in STABLE)
    yield "\n### For the app and the commands\nPublic as well, but they may still change from version to version."
    yield from (_method(Audit, name) for name in names if name not in STABLE)


def _split_params() -> Iterator[str]:
    yield _words(SplitParams) + "\n"
    yield from (f"- `{one.name}: {one.type} = {one.default!r}`" for one in dataclasses.fields(SplitParams))
    yield "\nValues that cannot be raise `ParameterError`.\n"
    yield from (_method(SplitParams, name) for name in public(SplitParams))


def _cfbd_error() -> Iterator[str]:
    yield _words(CfbdError) + " These are in `cfbd_core.errors`:\n"
    kinds = (one for one in vars(errors).values() if isinstance(one, type) and CfbdError in one.__bases__)
    yield from (f"- `{one.__name__}`: {_words(one)}" for one in kinds)


def _version() -> Iterator[str]:
    yield "The version of this package, a string."


SECTIONS = {
    "Audit": _audit,
    "CfbdError": _cfbd_error,
    "SplitParams": _split_params,
    "__version__": _version,
}


def public(kind: type) -> list[str]:
    """The names, sorted, of a class's public methods and properties; fields of a dataclass are left out."""
    fields = {one.name for one in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return [name for name in sorted(dir(kind)) if not name.startswith("_") and name not in fields]


def _method(kind: type, name: str) -> str:
    held = inspect.getattr_static(kind, name)
    shown = f"{kind.__name__}.{name}" if isinstance(held, classmethod) else f".{name}"
    called = "" if isinstance(held, property) else signature(getattr(kind, name))
    return f"- `{shown}{called}`\\\n  {_words(held)}"


def signature(method: Any) -> str:
    """A method's arguments as they are written, without `self`; a default that is a function is `…`."""
    found = inspect.signature(method)
    arguments = [
        one.replace(
            annotation=_Raw(one.annotation) if one.annotation is not one.empty else one.empty,
            default=_Raw("…") if callable(one.default) and one.default is not one.empty else one.default,
        )
        for one in found.parameters.values()
        if one.name != "self"
    ]
    return str(found.replace(parameters=arguments, return_annotation=_Raw(found.return_annotation)))


class _Raw:
    """Words that a signature shows as they are."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


def _words(documented: Any) -> str:
    """A docstring's first paragraph in one line, as Markdown."""
    text = (inspect.getdoc(documented) or "").split("\n\n")[0]
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return " ".join(text.split())


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
