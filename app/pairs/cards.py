"""Pairs as cards: a picture that opens the pair, caption as plain text, scores, and the buttons that decide.

A page of cards is one element, drawn by a script in the browser: as widgets of Streamlit's, three buttons a card, a
page of 60 took over twice as long to draw. What strangers wrote goes there as text, never as HTML.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import streamlit as st

from app import state, toasts, words
from app.deciding import deciding, undo
from app.pairs import pair_detail
from cfbd_core.pictures.images import data_url
from cfbd_core.pictures.thumbnails import Thumbnail, Thumbnails
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench.preview import Preview

SUBSETS = ("D_b", "D_p", "D_s")
CHOICES = {"keep": "Keep", "remove": "Remove", "unsure": "?"}
MOST_PRESSES = 200  # presses
OPENED = "gallery_opened"  # the row of the pair whose picture was pressed, in the session
HELP = {"unsure": "Unsure: look again later"}
_SCRIPT = """
const made = (tag, name, text) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
};
const said = (text) => Object.assign(made("span", "cfbd-plain", text), { dir: "auto" });
const picture = (card, open) => {
  const frame = made("button", "cfbd-picture");
  frame.type = "button";
  frame.title = frame.ariaLabel = "Open this pair";
  frame.onclick = () => open(card.row);
  if (card.picture) frame.append(Object.assign(made("img"), { alt: "", src: card.picture }));
  if (card.gone) frame.append(made("div", "cfbd-gone", card.gone));
  return frame;
};
const drawn = (card, choices, press, open, pressed) => {
  const all = made("div", "cfbd-card"), caption = made("div", "cfbd-caption"), tags = made("div", "cfbd-tags");
  caption.title = card.title;
  caption.append(said(card.caption));
  for (const [kind, text] of card.tags) tags.append(made("span", `cfbd-tag cfbd-${kind}`, text));
  const scores = made("div", "cfbd-scores", card.scores);
  scores.append(made("br"), said(card.key));
  const buttons = made("div", `cfbd-decide st-key-decide_${card.row}`);
  let decided = pressed ? pressed.decision : card.decided;
  for (const [decision, label, help] of choices) {
    const button = made("button", "", label);
    button.type = "button";
    button.title = help;
    button.setAttribute("aria-pressed", decision === decided);
    button.onclick = () => {
      const seen = decided;
      decided = decision === seen ? "" : decision;
      for (const other of buttons.children) other.setAttribute("aria-pressed", other === button && decided !== "");
      all.isPressed = true;
      press({ row: card.row, key: card.key, decision: decided, seen });
    };
    buttons.append(button);
  }
  all.append(picture(card, open), caption, tags, scores, buttons);
  return all;
};
export default function ({ data, parentElement, setTriggerValue }) {
  let grid = parentElement.querySelector(".cfbd-cards");
  if (!grid) parentElement.append((grid = made("div", "cfbd-cards")));
  // A message takes the place of one that was not read yet: so each one holds all that is not yet done.
  const done = new Set(data.done);
  grid.presses = (grid.presses || []).filter((one) => !done.has(one.id));
  const press = (what) => {
    grid.presses.push({ id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`, ...what });
    grid.report();
  };
  const open = (row) => setTriggerValue("open", row);
  grid.report = () => setTriggerValue("decide", [...grid.presses]);
  clearTimeout(grid.again);  // a message that was sent while the page was on its way may be lost
  if (grid.presses.length) grid.again = setTimeout(() => grid.presses.length && grid.report(), 150);
  const before = grid.held || new Map(), now = new Map();
  for (const card of data.cards) {
    const text = JSON.stringify(card), held = before.get(card.row);
    const element = held && held.text === text && !held.element.isPressed ? held.element
      : drawn(card, data.choices, press, open, grid.presses.findLast((one) => one.row === card.row));
    now.set(card.row, { text, element });
  }
  grid.held = now;
  const wanted = [...now.values()].map((one) => one.element), kept = new Set(wanted);
  wanted.forEach((element, place) => {  // what stays is not touched: a click that has begun there would be lost
    const there = grid.children[place];
    if (there === element) return;
    if (there && !kept.has(there)) there.replaceWith(element);
    else grid.insertBefore(element, there || null);
  });
  while (grid.children.length > wanted.length) grid.lastChild.remove();
}
"""

_component = st.components.v2.component("cfbd_cards", js=_SCRIPT, isolate_styles=False)


def gallery(preview: Preview, positions: np.ndarray) -> None:
    """Draw the pairs at ``positions`` (m,) as a grid of cards."""
    explorer = preview.pairs
    pairs = explorer.pairs_at(positions).to_pylist()
    place_of = dict(zip(explorer.rows[positions].tolist(), positions.tolist(), strict=True))
    pictures = Thumbnails(explorer.audit.folder).of_pairs(explorer.audit.shards, pairs)
    cards = [
        _card(preview, place_of[pair["row"]], pair, picture)
        for pair, picture in zip(pairs, pictures, strict=True)
    ]
    offered = {} if state.is_read_only() else CHOICES
    choices = [(decision, label, HELP.get(decision, "")) for decision, label in offered.items()]
    _component(
        data={"cards": cards, "choices": choices, "done": list(_done())},
        key="gallery",
        on_decide_change=_decide,
        on_open_change=_open,
    )
    row = st.session_state.pop(OPENED, None)
    if row in place_of:
        pair_detail.show(preview, place_of[row])


def _open() -> None:
    st.session_state[OPENED] = st.session_state["gallery"]["open"]


def _card(preview: Preview, position: int, pair: dict[str, Any], picture: Thumbnail) -> dict[str, Any]:
    subset = int(preview.coarse.subset[position])
    z, c = float(preview.z.values[position]), float(preview.pairs.consistency[position])
    tags = [
        ("subset", SUBSETS[subset]),
        ("flag", "flagged") if preview.flagged[position] else ("ok", "clean"),
    ]
    if pair["poisoned"] is not None:
        tags.append(("truth", "known poison" if pair["poisoned"] else "known clean"))
    return {
        "row": pair["row"],
        "key": words.cut(pair["key"], 60),
        "caption": words.cut(pair["caption"], 400),
        "title": pair["caption"][:1000],
        "picture": picture.data and data_url(picture.data),
        "gone": picture.reason,
        "tags": tags,
        "scores": f"z {z:.3f} · c {c:.3f}" if np.isfinite(z) else f"z – · c {c:.3f}",
        "decided": DECISIONS[preview.pairs.decisions[position]],
    }


# --- decisions ---------------------------------------------------------------------------------------------


def _done() -> deque[str]:
    """Return the presses that this session's cards have sent and that are stored, by their ids."""
    presses: deque[str] = st.session_state.setdefault("gallery_presses", deque(maxlen=MOST_PRESSES))
    return presses


def _decide() -> None:
    """Store what was pressed, each press once, wherever its pair stands by now; a busy audit is reported.

    A newer run of the page may get a press that an older one is still taking in: hence the lock.
    """
    done, lock = _done(), undo.steps().lock
    for press in st.session_state["gallery"]["decide"]:
        with lock:
            if press["id"] in done:
                continue
            with toasts.report_errors():
                deciding.on_one(press["row"], press["key"], press["decision"], press["seen"])
            done.append(press["id"])
