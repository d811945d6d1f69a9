"""Keys and presses of a review, heard in the browser: a decision brings the next picture at once.

The page holds the next pairs ready, hidden. So a press never waits for the server, and it is always for the pair that
is on the screen: what comes before its picture was painted is not taken, and that is said. The server gets a
press meanwhile, and again until it has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

import streamlit as st

_SCRIPT = """
const SEEN = 120;  // ms that a picture is on the screen before a press is for it
const AGAIN = 600;  // ms between looks whether presses were answered
const PATIENCE = 3000;  // ms: so long a button's press may take until the page begins to answer
const FORGOTTEN = 30000;  // ms: what was held longer is not expected any more
const MOST = 20;  // keys held while the page is on its way
const presses = [];  // decisions that the server has not yet answered
const held = [];  // keys of other buttons, in their order
let data, send, root, is_sent = false;
let front = null, painted = Infinity;  // the row of the pair that is on the screen, and since when
let has_moved = false;  // whether another pair was there before on this page: a press may be meant for that
let leaving = 0, clicked = 0, missed = 0, note = null, hiding;

const app = () => document.querySelector('[data-testid="stApp"]');
const is_running = () => ["running", "rerunRequested"].includes(app()?.dataset.testScriptState);
const on_its_way = () => presses.length || performance.now() - clicked < PATIENCE || is_running();
const button_of = (name) => document.querySelector(`[class*="st-key-${name}"] :is(button, input)`);
const say = (text) => {  // in words, for a moment, where the eye is
  if (!note) {
    note = Object.assign(document.createElement("div"), { className: "cfbd-missed", role: "status" });
    document.body.append(note);
  }
  const colours = getComputedStyle(app());
  Object.assign(note.style, { color: colours.backgroundColor, background: colours.color });
  note.textContent = text;
  note.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { note.hidden = true; missed = 0; }, 3000);
};

// --- which pair is on the screen

const settle = () => {
  if (!data) return;
  const pressed = new Set(presses.map((one) => one.row));
  const next = data.pairs.find((pair) => !pressed.has(pair.row));
  const all = [...document.querySelectorAll(".st-key-review_pairs .cfbd-review")];
  const shown = next && all.find((one) => Number(one.dataset.shown) === next.row);
  const stays = shown || all.find((one) => one.classList.contains("cfbd-front")) || all.find((one) => one.offsetParent);
  for (const one of all) {
    one.classList.toggle("cfbd-waiting", !shown);  // what was shown last stays, faintly, and alone
    if (stays) one.classList.toggle("cfbd-front", one === stays);
    if (stays) one.classList.toggle("cfbd-behind", one !== stays);
  }
  const row = shown ? next.row : null;
  if (row === front) return;
  [front, painted] = [row, shown && !has_moved ? -Infinity : Infinity];
  if (!shown || !has_moved) return;
  const picture = shown.querySelector("img");
  Promise.resolve(picture?.decode()).catch(() => {}).then(() => requestAnimationFrame(() => setTimeout(() => {
    if (front === row) painted = performance.now();
  })));
};

// --- decisions

const report = () => {  // all at once, and no more until that is answered: it would end the run that answers
  if (is_sent || !presses.length) return;
  is_sent = true;
  send("decide", [...presses]);
};
const tell_now = () => {
  is_sent = false;
  report();
};
const tell_again = () => {
  if (is_running()) return;
  tell_now();  // it may not have been heard
  press_held();
};
const on_leaving = (event) => presses.length && event.preventDefault();  // the browser asks whether to stay
const decide = (decision, at) => {
  const pair = data.pairs.find((one) => one.row === front);
  if (!pair || held.length || leaving > performance.now() || at < painted + SEEN) {
    missed += 1;
    say(missed === 1 ? "Not taken: it came before the picture could be seen. Press again."
      : `${missed} presses not taken: they came before the picture could be seen.`);
    return;
  }
  const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  has_moved = true;
  presses.push({ id, subject: data.subject, row: pair.row, key: pair.key, seen: pair.seen, decision });
  report();
  settle();
};

// --- other buttons

const press = ({ name, since }) => {
  const button = button_of(name);
  if (!button || button.disabled || performance.now() - since > FORGOTTEN) {
    say("Not taken: the page was on its way for too long. Press again.");
    return;
  }
  if (button.matches("input")) {
    button.focus();
    held.length = 0;  // letters that were meant for the field
    return;
  }
  clicked = performance.now();
  if (data.moves.includes(name)) [has_moved, leaving] = [true, clicked + PATIENCE];
  setTimeout(press_held, PATIENCE);
  button.click();
};
const press_held = () => {
  while (held.length && !on_its_way()) press(held.shift());
};

const typing = ({ target, key }) => target && target.closest && (target.isContentEditable
  || target.matches('textarea, select, input:not([type="checkbox"], [type="radio"], [type="range"], [type="button"])')
  || target.closest('[role="menu"], [role="listbox"]')
  || (key.startsWith("Arrow") && target.closest('[role="radiogroup"], [role="slider"], input')));
const is_led_to = (field) => Object.values(data.keys).some((name) => field.closest(`[class*="st-key-${name}"]`));
const on_key = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (typing(event)) {  // what was written counts, and keys press buttons again
    const leaves = ["Enter", "Escape"].includes(event.key) && !event.isComposing && is_led_to(event.target);
    if (leaves) setTimeout(() => event.target.blur());
    return;
  }
  if (document.querySelector('[role="dialog"]')) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const decision = data.decisions[key], name = data.keys[key], button = name && button_of(name);
  if (!decision && (!button || (button.disabled && !on_its_way()))) return;
  event.preventDefault();
  event.stopPropagation();
  if (decision) {
    if (data.pairs.length) decide(decision, event.timeStamp);
  } else if (held.length < MOST) {
    held.push({ name, since: performance.now() });
    press_held();
  } else say("Not taken: the page is on its way. Press again.");
};
const on_click = (event) => {  // a decision's button is a key like any other: it is for what is on the screen
  const button = event.target.closest?.("button"), place = button?.closest('[class*="st-key-review_decide_"]');
  if (!place || !event.isTrusted) {
    tell_now();  // it may lead to another page
    return;
  }
  event.preventDefault();
  event.stopPropagation();
  decide(place.className.match(/review_decide_([a-z]+)/)[1], event.timeStamp);
};

export default function ({ data: given, parentElement, setTriggerValue }) {
  if (root !== parentElement) [front, has_moved] = [null, false];  // the page was opened
  [data, root] = [given, parentElement];
  leaving = clicked = 0;
  const done = new Set(data.done);
  const others = presses.filter((one) => one.subject !== data.subject).length;
  for (let at = presses.length - 1; at >= 0; at -= 1)
    if (done.has(presses[at].id) || presses[at].subject !== data.subject) presses.splice(at, 1);
  if (others) say("Another audit was opened before the last decision was stored: look there whether it is.");
  [send, is_sent] = [setTriggerValue, false];
  settle();
  setTimeout(report, 30);
  setTimeout(press_held, 30);  // by then what has come is drawn
  const again = setInterval(tell_again, AGAIN);
  const watcher = new MutationObserver((changes) => {
    if (changes.some((one) => one.type === "childList")) settle();
    if (changes.some((one) => one.type === "attributes")) {  // both may come at once
      clicked = 0;
      setTimeout(press_held, 30);
    }
  });
  watcher.observe(app(), { childList: true, subtree: true, attributeFilter: ["data-test-script-state"] });
  window.addEventListener("keydown", on_key, true);
  window.addEventListener("click", on_click, true);
  window.addEventListener("beforeunload", on_leaving);
  return () => {
    clearInterval(again);
    watcher.disconnect();
    window.removeEventListener("keydown", on_key, true);
    window.removeEventListener("click", on_click, true);
    window.removeEventListener("beforeunload", on_leaving);
  };
}
"""

_component = st.components.v2.component("cfbd_keys", js=_SCRIPT)


class Pair(TypedDict):
    """A pair that the page holds ready: its row, its key, and the decision that a person sees on it."""

    row: int
    key: str
    seen: str


class KeyMap(NamedTuple):
    """What keys do (``event.key``, letters in lower case).

    ``presses`` names the button that a key presses, or the field that it enters; ``decisions`` what it decides.
    ``moves`` are buttons that bring another pair.
    """

    presses: dict[str, str]
    decisions: dict[str, str]
    moves: Sequence[str] = ()


def listen(
    keys: KeyMap, subject: str, pairs: Sequence[Pair], done: Sequence[str], on_decide: Callable[[], None]
) -> None:
    """Let keys press buttons, and decide on the first of ``pairs`` that is not decided yet.

    Each press that decides comes with an id and the ``subject`` of the pairs, in
    ``st.session_state["review_keys"]["decide"]`` until the id is among those that are ``done``.
    """
    run = st.session_state["review_run"] = st.session_state.get("review_run", 0) + 1
    _component(
        data={
            "keys": keys.presses,
            "decisions": keys.decisions,
            "subject": subject,
            "pairs": list(pairs),
            "done": list(done),
            "moves": list(keys.moves),
            "run": run,  # each run is an answer, whatever it holds
        },
        key="review_keys",
        height=1,
        on_decide_change=on_decide,
    )
