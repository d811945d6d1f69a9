"""Strangers' text as a browser shows it: Streamlit reads Markdown there, where no other test sees it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

TEXTS = (
    "<script>window.owned = 1</script><b>bold</b><img src=x onerror='window.owned=1'>",
    "**bold** __b__ *i* ~~no~~ `code` [link](http://example.com) ![i](http://127.0.0.1:9/x.png) :red[red] $x^2$ $$y$$",
    ":rocket: :+1: :material/home: :streamlit: :red-badge[x] :small[x] 12:30:45",
    "a -> b <- c <-> d -- e >= f <= g ~= h --root",
    "http://example.com www.example.com ada@example.org &lt;b&gt; &copy; &#58;",
    "# head",
    "1. one",
    "- [ ] x | y | z",
    "\\ back\\slash \\* C:\\x",
    "[^1] [^1]: x [a]: http://b",
)
SCRIPT = """
import sys, json
sys.path.insert(0, {root!r})
import streamlit as st
from app.words import escaped, plain
for number, text in enumerate(json.loads({texts!r})):
    with st.container(key=f"error{{number}}"):
        st.error(escaped(text))
    with st.container(key=f"strong{{number}}"):
        st.markdown(f"**{{escaped(text)}}**")
    with st.container(key=f"button{{number}}"):
        st.button(f"Undo: {{escaped(text)}}", key=f"b{{number}}")
    with st.container(key=f"html{{number}}"):
        st.html(plain(text))
st.toast(escaped(json.loads({texts!r})[0]), duration="infinite")
st.text("drawn")
"""


@pytest.fixture
def address(tmp_path, request):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(request.config.rootpath), texts=json.dumps(TEXTS)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    command += [f"--server.port={port}", "--browser.gatherUsageStats=false", "--server.address=localhost"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def test_text_is_shown_letter_by_letter_and_nothing_runs(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.get_by_text("drawn", exact=True).wait_for(timeout=60_000)
    page.wait_for_timeout(1000)  # emoji and formulas are loaded later, where a text asks for them
    for number, text in enumerate(TEXTS):
        for kind, before in (("error", ""), ("strong", ""), ("button", "Undo: "), ("html", "")):
            shown = page.locator(f".st-key-{kind}{number}").inner_text().replace("\u2060", "").strip()
            assert shown == before + text, kind
            assert page.locator(f".st-key-{kind}{number} :is(a, img, em, del, .katex, script)").count() == 0
    assert (
        page.locator('[data-testid="stToast"]')
        .inner_text()
        .replace("\u2060", "")
        .strip()
        .startswith(TEXTS[0])
    )
    assert page.evaluate("window.owned") is None
    page.close()
