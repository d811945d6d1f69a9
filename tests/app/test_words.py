"""What `escaped` leaves is what Streamlit's Markdown, read by its own rules, shows letter by letter."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words import code, escaped, plain

# What Streamlit 1.67 and remark look for in the finished text (static/js/StreamlitMarkdown…js).
REPLACED = (
    r":material_\w+:",
    r":streamlit:",
    r":[\w+-]+:",
    r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)",
    r"https?://[-.\w]",
    r"www\.[-.\w]",
    r"(?<!\w)[-.\w+]+@[-\w]+\.[-\w]+",
)


def shown(markdown: str) -> str:
    """Markdown's text after its escapes."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown.replace(":material/", ":material_"))


@pytest.mark.parametrize(
    "text",
    [
        "**bold** _it_ `code` [a](http://e.org) ![i](x.png) <b>b</b> <script>1</script>",
        "# head",
        "1. one",
        "- x",
        "$x^2$ $$y$$",
        ":red[x] :rocket: :material/home: :streamlit: ::",
        "a -> b <- c <-> d -- e >= f <= g ~= h",
        "www.example.com https://example.com ada@example.org",
        "&lt;b&gt; &copy;",
        "a | b",
        "~~no~~",
        "\\",
        "^1^",
    ],
)
def test_nothing_in_a_line_of_text_is_read_as_markup(text):
    markdown = escaped(text)
    assert shown(markdown).replace("\u2060", "").replace(":material_", ":material/") == text
    assert not any(re.search(pattern, shown(markdown), re.IGNORECASE) for pattern in REPLACED)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>$&#~|!]", markdown)


@given(st.text(alphabet=st.sampled_from(":-<>~= a/@.w\\&`*[materil_"), max_size=40))
def test_no_text_is_replaced(text):
    found = shown(escaped(text))
    assert not any(re.search(pattern, found, re.IGNORECASE) for pattern in REPLACED), found
    assert found.replace("\u2060", "").replace(":material_", ":material/") == " ".join(text.split())


def test_text_stays_on_one_line_and_is_cut():
    assert escaped("    a\n\n    b\t c") == "a b c"
    assert len(escaped("x" * 10_000)) < 1100
    assert escaped("abcdef", 3) == "abc …"


def test_text_that_turns_the_direction_is_closed_in():
    assert escaped("\u202eevil") == "\u2068\u202eevil\u2069"
    assert escaped("مرحبا") == "مرحبا"  # ordinary right-to-left letters turn nothing else


@pytest.mark.parametrize("text", ["plain", "a`b", "``", "`a", "`a``b```c"])
def test_code_holds_backticks(text):
    fence = re.match("`+", code(text))[0]
    inside = code(text)[len(fence) : -len(fence)]
    assert inside.strip(" ") == text
    assert fence not in [*re.findall("`+", inside)]


def test_html_is_shown_as_text():
    assert "&lt;script&gt;" in plain("<script>")
    assert 'dir="auto"' in plain("مرحبا")
    assert len(plain("<" * 10_000)) < 2000
