"""Keys that press buttons, or lead into a field; dead while someone types, held while the page is on its way."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

_SCRIPT = """
const MOST = 3;  // keys held while the page is on its way; more are not meant
const FORGOTTEN = 10000;  // ms: what was held longer is not expected any more
const PATIENCE = 3000;  // ms: so long a press may take until the page begins to answer
const held = [];
let pressed = null;  // when a button was pressed that the page has not begun to answer

export default function ({ data }) {
  const app = document.querySelector('[data-testid="stApp"]');
  const typing = ({ target, key }) => target && target.closest && (target.isContentEditable
    || target.matches('textarea, select, input:not([type="checkbox"], [type="radio"], [type="range"], [type="button"])')
    || target.closest('[role="menu"], [role="listbox"]')
    || (key.startsWith("Arrow") && target.closest('[role="radiogroup"], [role="slider"], input')));
  const on_its_way = () => ["running", "rerunRequested"].includes(app?.dataset.testScriptState)
    || (pressed !== null && performance.now() - pressed < PATIENCE);
  const shown = () => document.querySelector("[data-shown]")?.dataset.shown;
  const button_of = (name) => document.querySelector(`[class*="st-key-${name}"] :is(button, input)`);
  const is_led_to = (field) => Object.values(data.keys).some((name) => field.closest(`[class*="st-key-${name}"]`));

  const press = ({ name, meant, since }) => {
    const button = button_of(name);
    if (!button || button.disabled || performance.now() - since > FORGOTTEN) return;
    if (data.bound.includes(name) && meant !== shown()) return;  // it was meant for what was on the screen then
    if (button.matches("input")) {
      button.focus();
      held.length = 0;  // letters that were meant for the field
      return;
    }
    pressed = performance.now();
    setTimeout(press_held, PATIENCE);
    button.click();
  };
  const press_held = () => {
    while (held.length && !on_its_way()) press(held.shift());
  };
  const on_key = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (typing(event)) {  // what was written counts, and keys press buttons again
      const leaves = ["Enter", "Escape"].includes(event.key) && !event.isComposing && is_led_to(event.target);
      if (leaves) setTimeout(() => event.target.blur());
      return;
    }
    if (document.querySelector('[role="dialog"]')) return;
    const name = data.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const button = name && button_of(name);
    if (!button || (button.disabled && !on_its_way())) return;
    event.preventDefault();
    event.stopPropagation();
    if (held.length < MOST) held.push({ name, meant: shown(), since: performance.now() });
    press_held();
  };
  const watcher = new MutationObserver(() => {
    pressed = null;
    setTimeout(press_held, 30);  // by then what has come is drawn
  });
  if (app) watcher.observe(app, { attributeFilter: ["data-test-script-state"] });
  window.addEventListener("keydown", on_key, true);
  return () => {
    window.removeEventListener("keydown", on_key, true);
    watcher.disconnect();
  };
}
"""

_component = st.components.v2.component("cfbd_keys", js=_SCRIPT)


def press_buttons(keys: dict[str, str], bound: Sequence[str] = ()) -> None:
    """Let each key (``event.key``, letters in lower case) press the button, or enter the field, whose key begins so.

    Those of ``bound`` are for what is on the screen, the ``data-shown`` of an element, when the key goes down; by the
    time that the page can hear it something else may be there, and then it is none.
    """
    _component(data={"keys": keys, "bound": list(bound)}, key="keys", height=1)
