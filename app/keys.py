"""Keys that press buttons; dead while someone types, and while the page is changing."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  const typing = (target) => target && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
    || (target.closest && target.closest('[role="radiogroup"], [role="slider"], [role="menu"], [role="listbox"]')));
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
    if (document.querySelector('[role="dialog"]')) return;
    const key = data.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!key) return;
    const button = document.querySelector(`.st-key-${key} button`);
    if (!button || button.disabled) return;
    event.preventDefault();
    event.stopPropagation();
    const app = document.querySelector('[data-testid="stApp"]');
    if (app && app.dataset.testScriptState === "running") return;  // what is shown is on its way out
    button.click();
  };
  window.addEventListener("keydown", press, true);
  return () => window.removeEventListener("keydown", press, true);
}
"""

_component = st.components.v2.component("cfbd_keys", js=_SCRIPT)


def press_buttons(keys: dict[str, str]) -> None:
    """Let each key (``event.key``, letters in lower case) press the button of this widget key on the page."""
    _component(data={"keys": keys}, key="keys", height=1)
