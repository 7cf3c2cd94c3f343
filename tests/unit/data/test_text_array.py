import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.text_array import TextArray, encode


def stored(strings: list[str]) -> TextArray:
    return TextArray(len(strings), lambda: encode(strings))


@given(st.lists(st.text(max_size=5)))
def test_strings_come_back_as_they_were(strings: list[str]) -> None:
    assert stored(strings) == strings
    assert list(stored(strings)) == strings
    assert stored(strings)[1:-1] == tuple(strings[1:-1])


def test_a_file_name_that_is_no_text_comes_back_too() -> None:
    assert stored(["a\udcffb"])[0] == "a\udcffb"


def test_places_count_from_the_end_and_end_somewhere() -> None:
    strings = stored(["a", "", "ccc"])
    assert strings[-1] == "ccc"
    with pytest.raises(IndexError):
        strings[3]


def test_nothing_is_read_before_it_is_asked_for() -> None:
    num_read = []

    def read() -> object:
        num_read.append(1)
        return encode(["a", "b"])

    strings = TextArray(2, read)  # type: ignore[arg-type]
    assert len(strings) == 2
    assert not num_read
    assert strings[0] + strings[1] == "ab"
    assert len(num_read) == 1
