"""First-run hints: what to do on a page, said until one has understood it. The browser remembers that, per page."""

from __future__ import annotations

import streamlit as st

HINTS = {
    "Audits": "Open an audit to look at it, or make one of your own pairs. It runs in the background; this page shows "
    "how far it is, and you can close the browser meanwhile.",
    "Coarse stage": "The defaults suit most sets. Move a slider to see at once what it would change; nothing is stored "
    "until you press Apply in the sidebar.",
    "Fine stage": "Clean pairs make one hill. Poison makes a second one, far to the right: γ_z belongs in the valley "
    "between them.",
    "Suspected targets": "Begin with the largest group. One caption over unlike pictures, and the same mark in each of "
    "them: that is poison. Remove the group; one press of Undo brings it back.",
    "Suspicious pairs": "These are the pairs that an export leaves out. Keep what is wrongly here; press a picture to "
    "look closer. For many at once, filter first and then decide on all that match.",
    "Review": "Hands on the keyboard: X removes, K keeps, U is for later, Z undoes. Each decision is stored at once, "
    "so you can stop at any time.",
    "Map": "Look for a tight clump of removed pairs. Take the lasso in the chart's corner, draw around it, and look at "
    "the pairs or decide on all of them.",
    "Duplicates": "One switch lets every picture and caption count once in the statistics. No pair is removed by that.",
    "Evaluate": "Of a real set nobody knows the poisons. To see figures here, poison a copy in the Attack lab and "
    "audit that.",
    "Export": "See how many pairs your decisions overrule, give the file a name, and start. Page Train then trains on "
    "what is kept.",
    "Log": "Something decided by mistake? Find it here and undo it, a whole bulk decision as easily as a single one.",
    "Attack lab": "For a first try keep the defaults: they poison a copy of your pairs and leave the pairs alone. Then "
    "audit the copy.",
    "Train": "Train once on all and once on what is kept, and compare: ASR should fall to nothing, CA should stay.",
}  # fmt: skip

_HTML = '<div class="hint" role="note" hidden><span class="text"></span><button type="button">Got it</button></div>'
_CSS = """
.hint { display: flex; gap: 0.75rem; align-items: center; padding: 0.6rem 0.9rem; border-radius: 0.5rem;
  background: var(--st-secondary-background-color); border-left: 4px solid var(--st-primary-color);
  color: var(--st-text-color); font: 0.95rem/1.45 var(--st-font); }
.hint[hidden] { display: none; }
.text { flex: 1; }
button { flex: none; padding: 0.25rem 0.7rem; border: 1px solid var(--st-border-color); border-radius: 0.5rem;
  background: var(--st-background-color); color: inherit; font: inherit; cursor: pointer; }
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
_SCRIPT = """
export default function ({ data, parentElement }) {
  const hint = parentElement.querySelector(".hint"), name = `cfbd hint ${data.page}`;
  let known = null;
  try { known = localStorage.getItem(name); } catch { known = "nothing is remembered here"; }
  hint.querySelector(".text").textContent = data.text;
  hint.hidden = known !== null;
  hint.querySelector("button").onclick = () => { hint.hidden = true; localStorage.setItem(name, "known"); };
}
"""
_hint = st.components.v2.component("cfbd_hint", html=_HTML, css=_CSS, js=_SCRIPT)


def show(page: str) -> None:
    """Draw the hint of the page with this title, if it has one that was not put away in this browser."""
    if page in HINTS:
        _hint(data={"page": page, "text": HINTS[page]}, key=f"hint_{page}", height="content")
