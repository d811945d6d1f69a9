"""Pointing at a point of the map shows its picture and caption.

Plotly's own hover labels hold no pictures. This component listens to the chart's hover events in the browser. Of a
small map it holds everything: the map's sprite sheets and captions, so that no request goes to the server. Of a large
one that would be a hundred megabytes: there it asks for the one point that someone points at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st

from cfbd_core.maps.maps import Map
from cfbd_core.pictures.images import data_url

MOST_POINTS = 5000  # points, at most, whose pictures and captions a browser is given at once
ContentOf = Callable[[int], tuple[str, bytes | None] | None]
_SCRIPT = """
const made = (data, parentElement) => {
  const [tip, tile, words] = ["div", "div", "div"].map((tag) => document.createElement(tag));
  tip.className = "cfbd-tip";
  words.dir = "auto";
  tip.append(tile, words);
  document.body.append(tip);
  const side = data.tile * 2;
  Object.assign(tip.style, {
    position: "fixed", zIndex: 1000000, pointerEvents: "none", display: "none", width: (side + 20) + "px",
    padding: "10px", borderRadius: "8px", font: "13px/1.35 sans-serif", whiteSpace: "pre-wrap",
    overflowWrap: "anywhere", background: "var(--st-background-color, #fff)", color: "var(--st-text-color, #222)",
    border: "1px solid var(--st-border-color, #ccc)", boxShadow: "0 4px 16px rgba(0,0,0,.25)",
  });
  const styles = getComputedStyle(parentElement.host || parentElement);
  for (const name of ["--st-background-color", "--st-text-color", "--st-border-color"])
    tip.style.setProperty(name, styles.getPropertyValue(name));
  Object.assign(tile.style, { width: side + "px", height: side + "px", marginBottom: "6px", borderRadius: "4px" });
  return { tip, tile, words, side };
};
const WAIT = 90;  // ms on a point before it is asked for
export default function ({ data, parentElement, setTriggerValue }) {
  const { tip, tile, words, side } = made(data, parentElement);
  const held = data.words && new Map(data.index.map((point, i) => [point, i]));
  let asking = 0;
  const place = () => {
    const { x, y } = parentElement.pointed, room = (tip.style.display = "block", tip.getBoundingClientRect());
    tip.style.left = Math.min(x + 16, innerWidth - room.width - 8) + "px";
    tip.style.top = Math.max(8, Math.min(y + 16, innerHeight - room.height - 8)) + "px";
  };
  const fromSheet = (point) => {
    const i = held.get(point);
    if (i === undefined) return;
    const sheet = Math.floor(point / data.perSheet), at = point % data.perSheet;
    const x = at % data.columns, y = Math.floor(at / data.columns);
    tile.style.backgroundImage = `url(${data.sheets[sheet]})`;
    tile.style.backgroundSize = `${data.columns * side}px auto`;
    tile.style.backgroundPosition = `-${x * side}px -${y * side}px`;
    words.textContent = data.words[i];
    place();
  };
  const answered = () => {
    const shown = data.shown;
    if (!shown || !parentElement.pointed || parentElement.pointed.point !== shown.point) return;
    Object.assign(tile.style, { backgroundImage: shown.picture ? `url(${shown.picture})` : "none",
      backgroundSize: "contain", backgroundRepeat: "no-repeat", backgroundPosition: "center" });
    words.textContent = shown.words;
    place();
  };
  const show = (event) => {
    const point = event.points[0].customdata;
    if (point === undefined || point === null) return;
    parentElement.pointed = { point, x: event.event.clientX, y: event.event.clientY };
    clearTimeout(asking);
    if (held) fromSheet(point);
    else if (data.shown && data.shown.point === point) answered();
    else asking = setTimeout(() => setTriggerValue("point", point), WAIT);
  };
  const hide = () => {
    clearTimeout(asking);
    parentElement.pointed = null;
    tip.style.display = "none";
  };
  let chart = null;
  const attach = () => {
    const found = document.querySelector(".st-key-chart_map .js-plotly-plot");
    if (!found || found === chart || !found.on) return;
    chart = found;
    chart.on("plotly_hover", show);
    chart.on("plotly_unhover", hide);
  };
  const timer = setInterval(attach, 300);  // Streamlit may put another chart in its place
  attach();
  answered();
  const end = () => {
    clearInterval(timer);
    clearTimeout(asking);
    tip.remove();
    if (chart && chart.removeListener) {
      chart.removeListener("plotly_hover", show);
      chart.removeListener("plotly_unhover", hide);
    }
  };
  if (parentElement.ended) parentElement.ended();  // of the answer before
  parentElement.ended = end;
  return end;
}
"""

_component = st.components.v2.component("cfbd_hover_pictures", js=_SCRIPT)


def hover_pictures(made: Map, words: list[str], index: np.ndarray) -> None:
    """Show tiles of ``made`` for the points ``index`` (m,) of the chart ``map``; ``words`` (m,) stand below."""
    data = {
        "tile": made.tile,
        "columns": made.columns,
        "perSheet": made.per_sheet,
        "sheets": [_sheet(sheet) for sheet in made.sheets],
        "index": index.tolist(),
        "words": words,
    }
    _component(data=data, key="hover_pictures", height=1)


@st.fragment
def hover_one_by_one(made: Map, content_of: ContentOf) -> None:
    """Show what ``content_of(point)`` says, words and picture, of the point of the chart ``map`` that is pointed at."""
    point = (st.session_state.get("hover_point") or {}).get("point")
    one = point if type(point) is int else None
    content = None if one is None else content_of(one)
    shown = (
        None
        if content is None
        else {"point": one, "words": content[0], "picture": content[1] and data_url(content[1])}
    )
    _component(
        data={"tile": made.tile, "shown": shown}, key="hover_point", height=1, on_point_change=lambda: None
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _sheet(sheet: Path) -> str:
    return data_url(sheet.read_bytes())
