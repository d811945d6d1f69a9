import pytest

from cfbd_core import wording


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 pairs"), (1, "1 pair"), (2, "2 pairs"), (2000, "2,000 pairs")]
)
def test_a_count_takes_its_noun(number, told):
    assert wording.counted(number, "pair") == told
    assert wording.plural(number, "pair") == told.split()[1]


def test_verbs_go_with_the_count():
    assert [wording.is_or_are(number) for number in (0, 1, 2)] == ["are", "is", "are"]
    assert [wording.has_or_have(number) for number in (0, 1, 2)] == ["have", "has", "have"]


def test_kinds_stand_by_name():
    assert wording.by_kind({"tif": 2000, "gif": 1}) == "1 gif, 2,000 tif"
    assert wording.by_kind({}) == ""


def test_numbers_are_rounded_and_none_is_a_dash():
    assert wording.decimal(0.123456) == "0.1235"
    assert wording.decimal(0.123456, 3) == "0.123"
    assert wording.percentage(0.123456) == "12.35%"
    assert wording.percentage(1) == "100.00%"
    assert wording.rounded_percentage(0.12345) == "12.3 %"
    assert wording.decimal(None) == wording.percentage(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0:00"),
        (65.9, "1:05"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (7265.4, "2:01:05"),
        (90_000, "1 day, 1:00:00"),
    ],
)
def test_a_duration_is_read_as_on_a_clock(seconds, told):
    assert wording.duration(seconds) == told


def test_words_of_others_are_one_line():
    assert wording.in_one_line(ValueError(" two\n  lines\tof it ")) == "two lines of it"
    assert wording.in_one_line("a\nb c", 3) == "a b"
    assert wording.in_one_line(ValueError()) == ""
