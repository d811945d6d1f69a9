"""First-run hints: what to do on a page, said until one has understood it. The browser remembers that, per page."""

from __future__ import annotations

import streamlit as st

from app.pages import PAGES

HINTS = {page.head: page.hint for page in PAGES}

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
