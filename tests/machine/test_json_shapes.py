"""Values of JSON are what they have to be, or are told by their place."""

from __future__ import annotations

import pytest

from cfbd_core.machine.json_shapes import COUNT, check, parse

SHAPE = {
    "name": str,
    "count": COUNT,
    "share": (float, None),
    "parts": [{"at": int}],
    "other?": bool,
    "named?": {str: float},
}
GOOD = {"name": "a", "count": 3, "share": 0.5, "parts": [{"at": -1, "more": []}], "unknown": {}}


@pytest.mark.parametrize(
    "more",
    [{}, {"share": None}, {"share": 1}, {"other": True}, {"named": {"x": 1.5, "y": 2}}, {"parts": []}],
)
def test_what_fits_is_taken(more):
    check(GOOD | more, SHAPE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], r"it is \[\]"),
        ({**GOOD, "name": None}, "name is None"),
        ({**GOOD, "count": -1}, "count is -1"),
        ({**GOOD, "count": True}, "count is True"),
        ({**GOOD, "count": 2**70}, "count is 11805"),
        ({**GOOD, "count": 1.0}, "count is 1.0"),
        ({**GOOD, "share": "1"}, "share is '1'"),
        ({**GOOD, "share": True}, "share is True"),
        ({**GOOD, "parts": {}}, r"parts is {}"),
        ({**GOOD, "parts": [{}]}, r"parts\[0\] has no at"),
        ({**GOOD, "parts": [{"at": 1}, {"at": "x"}]}, "at is 'x'"),
        ({**GOOD, "other": 1}, "other is 1"),
        ({**GOOD, "named": {"x": []}}, r"x is \[\]"),
        ({name: value for name, value in GOOD.items() if name != "share"}, "it has no share"),
        ({**GOOD, "name": ["x" * 1000]}, "…"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place_in_one_short_line(value, said):
    with pytest.raises(ValueError, match=said) as refused:
        check(value, SHAPE)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[" * 100_000, "", "{", b"\xff", "9" * 5000])
def test_what_is_no_json_for_us_is_a_value_error(text):
    with pytest.raises(ValueError, match="."):
        parse(text)


def test_plain_json_is_read():
    assert parse(b'{"a": [1, 2.5, null, "\xc3\xbc"]}') == {"a": [1, 2.5, None, "ü"]}
