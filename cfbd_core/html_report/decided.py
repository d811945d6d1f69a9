"""The report's part on people: what they decided, who and how, and what their control sample says is left."""

from __future__ import annotations

import numpy as np

from cfbd_core.errors import AuditError
from cfbd_core.html_report.drawing import table, text
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.log import Action
from cfbd_core.workbench.action_words import action_words, filter_words
from cfbd_core.workbench.preview import Preview

MOST_BULK_ACTIONS = 20  # actions on many pairs at once that the page lists, the last first


def decisions_part(preview: Preview) -> str:
    """Return how many decisions stand, whose they are, and the last ones on many pairs at once."""
    explorer = preview.pairs
    counts_by_code = np.bincount(explorer.decisions, minlength=len(DECISIONS))
    removed = preview.removed()
    rows = [(name, f"{counts_by_code[code]:,}") for code, name in enumerate(DECISIONS) if name]
    rows.append(("kept though flagged", f"{int((preview.flagged & ~removed).sum()):,}"))
    rows.append(("removed though not flagged", f"{int((removed & ~preview.flagged).sum()):,}"))
    page = "<h2>People's decisions</h2>" + table(("decision", "pairs"), rows)
    people = explorer.audit.log.deciders()
    if people:
        names = [name for name in DECISIONS if name]
        counts = [(who, *(f"{of_person[name]:,}" for name in names)) for who, of_person in people.items()]
        page += "<h3>Whose decisions stand</h3>" + table(("who", *names), counts)
    bulk = [action for action in explorer.audit.history() if action.filter is not None]
    if bulk:
        more = f", the last {MOST_BULK_ACTIONS} of {len(bulk):,}" if len(bulk) > MOST_BULK_ACTIONS else ""
        page += f"<h3>Decisions on many pairs at once{more}</h3>"
        page += table(("when", "who", "what", "which pairs", "why"), map(_line, bulk[:MOST_BULK_ACTIONS]))
    return page


def _line(action: Action) -> tuple[str, ...]:
    done = action_words(action) + (" (undone since)" if action.undone else "")
    when = f"{action.time:%Y-%m-%d %H:%M UTC}"
    return when, action.who, done, filter_words(action.filter), action.note or ""


def left_part(preview: Preview) -> str:
    """Return what the control sample says is still hidden; that there is none, where none was drawn."""
    title = "<h2>What may be left</h2>"
    try:
        left = preview.what_is_left()
    except AuditError as error:
        return f"{title}<p>{text(error)}</p>"
    if left is None:
        return f"{title}<p>No control sample was drawn: nothing can be said about what is left.</p>"
    sentences = [*left.sentences, left.needed_sentence(), left.moved_sentence]
    return title + "".join(f"<p>{text(part, 1000)}</p>" for part in sentences if part)
