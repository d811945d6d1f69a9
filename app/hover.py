"""Pointing at a point of the map shows its picture and caption.

Plotly's own hover labels hold no pictures. This component listens to the chart's hover events in the
browser and shows the point's tile of the map's sprite sheets, so that no request goes to the server.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from cfbd_core.images import data_url
from cfbd_core.projection import Map

_SCRIPT = """
export default function ({ data, parentElement }) {
  const tip = document.createElement("div");
  tip.className = "cfbd-tip";
  const tile = document.createElement("div");
  const words = document.createElement("div");
  words.dir = "auto";
  tip.append(tile, words);
  document.body.append(tip);
  const scale = 2, side = data.tile * scale;
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
  const place = new Map(data.index.map((point, i) => [point, i]));
  const show = (event) => {
    const point = event.points[0].customdata, i = place.get(point);
    if (i === undefined) return;
    const sheet = Math.floor(point / data.perSheet), at = point % data.perSheet;
    const x = at % data.columns, y = Math.floor(at / data.columns);
    tile.style.backgroundImage = `url(${data.sheets[sheet]})`;
    tile.style.backgroundSize = `${data.columns * side}px auto`;
    tile.style.backgroundPosition = `-${x * side}px -${y * side}px`;
    words.textContent = data.words[i];
    tip.style.display = "block";
    const mouse = event.event, room = tip.getBoundingClientRect();
    tip.style.left = Math.min(mouse.clientX + 16, innerWidth - room.width - 8) + "px";
    tip.style.top = Math.max(8, Math.min(mouse.clientY + 16, innerHeight - room.height - 8)) + "px";
  };
  const hide = () => { tip.style.display = "none"; };
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
  return () => {
    clearInterval(timer);
    hide();
    tip.remove();
    if (chart && chart.removeListener) {
      chart.removeListener("plotly_hover", show);
      chart.removeListener("plotly_unhover", hide);
    }
  };
}
"""

_component = st.components.v2.component("cfbd_hover_pictures", js=_SCRIPT)


def hover_pictures(made: Map, words: list[str], index: np.ndarray) -> None:
    """Show tiles of ``made`` for the points ``index`` (m,) of the chart ``map``; ``words`` (m,) stand below."""
    data = {
        "tile": made.tile,
        "columns": made.columns,
        "perSheet": made.per_sheet,
        "sheets": [_as_url(sheet) for sheet in made.sheets],
        "index": index.tolist(),
        "words": words,
    }
    _component(data=data, key="hover_pictures", height=1)


@st.cache_data(max_entries=64, show_spinner=False)
def _as_url(sheet: Path) -> str:
    return data_url(sheet.read_bytes())
