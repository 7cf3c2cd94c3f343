import pytest

from study.data.tables.numbers import parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1200", 1200),
        (" 1200.50 ", 1200.5),
        ("1,200", 1200),
        ("1,234,567.8", 1234567.8),
        ("1 200", 1200),
        ("1\u00a0200", 1200),
        ("1'200", 1200),
        ("$1,200", 1200),
        ("€ 900.50", 900.5),
        ("900 €", 900),
        ("-$5", -5),
        ("$-5", -5),
        ("+3", 3),
        ("1.2e3", 1200),
        (".5", 0.5),
        ("5.", 5),
        ("0", 0),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "$", "-", ".", "on request", "about 300", "300-400", "1,5", "1,20,000", "1,200 300", "12,0000", "1$2", "$$5"),
        *("€5$", "--5", "-$-5", "inf", "nan", "1e999", "0x10", "1_000", "5 kg", "1.200.300"),
    ],
)
def test_what_is_not_surely_a_number_is_none(text: str) -> None:
    assert parse_number(text) is None
