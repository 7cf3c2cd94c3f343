"""Places to countries, offline: each rule once, and the labelled texts."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from study.cli import main
from study.data.locations import Location, Locator, Method, locate
from study.errors import DataError

LABELLED = Path(__file__).parent


@pytest.fixture(scope="session")
def place_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the gazetteer's index in it: seconds to build, once for all tests."""
    folder = tmp_path_factory.mktemp("places")
    Locator(folder).locate(["Cremona"])
    return folder


@pytest.fixture(scope="session")
def locator(place_cache: Path) -> Locator:
    return Locator(place_cache)


def place(locator: Locator, text: str) -> Location:
    return locator.locate([text])[0]


def labelled(name: str) -> dict[str, str]:
    with (LABELLED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row["text"]: row["iso_code"] for row in csv.DictReader(file)}


def counts(locator: Locator, name: str) -> tuple[int, int, int, int]:
    """Right, wrong, abstained, all."""
    expected = labelled(name)
    found = {location.text: location.iso_code for location in locator.locate(list(expected))}
    right = sum(found[text] == code for text, code in expected.items())
    wrong = sum(bool(found[text]) and found[text] != code for text, code in expected.items())
    return right, wrong, len(expected) - right - wrong, len(expected)


@pytest.mark.parametrize("name", ["places_tune_makers", "places_tune_tate"])
def test_the_texts_that_the_rules_were_tuned_on_are_right(locator: Locator, name: str) -> None:
    # The makers' second half was held out once: 222 of 233 right, 3 wrong, 8 abstained on its first run. Rules were mended for
    # the classes of its errors since, and "Springfield" got its label US: all of them are there, but for small ones.
    right, wrong, _, number = counts(locator, name)
    assert right >= 0.99 * number
    assert wrong == 0


def test_of_held_out_tate_texts_at_least_97_percent_are_right(locator: Locator) -> None:
    # First run, before anybody looked: 298 of 300 right, 0 wrong, 2 abstained; two of the right ones, found among the makers'
    # tuning texts too, were taken out since. Its few errors have been printed while later rules were made, so that it guards
    # against getting worse and measures nothing unseen.
    right, wrong, abstained, number = counts(locator, "places_heldout_tate")
    assert right >= 0.97 * number
    assert wrong < abstained


def test_of_held_out_maker_texts_at_least_95_percent_are_right(locator: Locator) -> None:
    # A list of 220 texts, written by somebody who had seen neither the rules nor the other lists. First and only run: 215
    # right, 2 wrong, 3 abstained (97.7 %; 98.6 % of the 208 with a country). 139 of these texts stand in the tuning list
    # too, as famous towns will; on the 81 that do not, which are kept here: 77 right, 1 wrong, 3 abstained (95.1 %; 96.0 %
    # of the 75 with a country). The goal is 97 %: met on texts as they come, missed on unseen ones.
    right, wrong, abstained, number = counts(locator, "places_heldout_makers")
    assert right >= 0.95 * number
    assert wrong < abstained


def test_no_text_is_both_tuned_on_and_held_out() -> None:
    tuned = {*labelled("places_tune_makers"), *labelled("places_tune_tate")}
    assert not tuned & {text for path in LABELLED.glob("places_heldout_*.csv") for text in labelled(path.stem)}


@pytest.mark.parametrize(
    ("text", "iso_code", "method"),
    [
        ("Cremona, Italy", "IT", Method.COUNTRY),
        ("Nihon", "JP", Method.COUNTRY),
        ("Taehan Min'guk", "KR", Method.COUNTRY),
        ("OESTERREICH", "AT", Method.COUNTRY),
        ("Italy, Cremona", "IT", Method.COUNTRY),
        ("Milano Italia", "IT", Method.COUNTRY),
        ("Bohemia", "CZ", Method.AREA),
        ("Prussia", "DE", Method.AREA),
        ("Danzig, Prussia", "PL", Method.AREA),
        ("Zagreb, Yugoslavia", "HR", Method.AREA),
        ("Bozen, Tyrol", "IT", Method.AREA),
        ("Tbilisi, Georgia", "GE", Method.AREA),
        ("Atlanta, Georgia", "US", Method.AREA),
        ("Breslau, Germany", "PL", Method.GAZETTEER),
        ("Paris, Texas", "US", Method.GAZETTEER),
        ("Boston, MA", "US", Method.GAZETTEER),
        ("Torino (TO)", "IT", Method.GAZETTEER),
        ("Lebanon, Pennsylvania", "US", Method.GAZETTEER),
        ("Absam b. Innsbruck", "AT", Method.GAZETTEER),
        ("near Brescia?", "IT", Method.GAZETTEER),
        ("Wien XV, 1890", "AT", Method.GAZETTEER),
        ("Muenchen", "DE", Method.GAZETTEER),
        ("Москва", "RU", Method.GAZETTEER),
        ("\ufeffLyon", "FR", Method.GAZETTEER),
        ("Paris - ca. 1820", "FR", Method.GAZETTEER),
        ("Cleveland, O.", "US", Method.GAZETTEER),
        ("Portland, Me.", "US", Method.GAZETTEER),
        ("Toronto, ON", "CA", Method.GAZETTEER),
        ("Armenia", "AM", Method.COUNTRY),
        ("Salvador", "BR", Method.GAZETTEER),
        ("Alessandria", "IT", Method.GAZETTEER),
        ("Gera", "DE", Method.GAZETTEER),
        ("Norwich", "GB", Method.GAZETTEER),
        ("Boston", "US", Method.GAZETTEER),
    ],
)
def test_a_text_is_in_the_country_of_today(locator: Locator, text: str, iso_code: str, method: Method) -> None:
    found = place(locator, text)
    assert (found.iso_code, found.method) == (iso_code, method)
    assert found.country
    assert found.rule


@pytest.mark.parametrize(
    "text", ["Yugoslavia", "Georgia", "Galicia", "Paris or London", "Vienna and Prague", "Germany, Austria", "Saxony/Bohemia"]
)
def test_a_text_that_leaves_it_open_is_an_abstention_with_its_reason(locator: Locator, text: str) -> None:
    found = place(locator, text)
    assert (found.iso_code, found.country, found.method) == ("", "", Method.AMBIGUOUS)
    assert found.rule


@pytest.mark.parametrize("text", ["", "  ", "?", "1720", "unknown", "workshop", "Kwyxqz"])
def test_no_place_is_no_country(locator: Locator, text: str) -> None:
    assert place(locator, text).method is Method.NONE


@pytest.mark.parametrize(
    ("text", "iso_code"), [("Cremonna", "IT"), ("Mirecort", "FR"), ("Ausburg 1750", "DE"), ("Germanny", "DE")]
)
def test_one_wrong_letter_in_a_well_known_name_is_forgiven_with_less_confidence(
    locator: Locator, text: str, iso_code: str
) -> None:
    found = place(locator, text)
    assert found.iso_code == iso_code
    assert found.confidence <= 0.7
    assert "read as" in found.rule


@pytest.mark.parametrize("text", ["Hockington", "violino", "Stradivari", "Vincenzo", "San Xyzab", "Unknwon"])
def test_a_word_that_is_near_no_single_well_known_name_is_no_country(locator: Locator, text: str) -> None:
    assert place(locator, text).method is Method.NONE


@pytest.mark.parametrize("text", ["Lodi", "Valencia", "Cordoba", "Toledo", "Cambridge", "Kronstadt"])
def test_a_name_of_two_comparable_towns_is_left_open_without_a_table(locator: Locator, text: str) -> None:
    assert place(locator, text).iso_code == ""


def test_the_countries_of_the_table_decide_an_ambiguous_name_and_are_named_in_the_rule(locator: Locator) -> None:
    english = [
        f"{city}, England" for city in ("Leeds", "York", "Oxford", "Derby", "Hull", "Bath", "Wells", "Bury", "Rye", "Ely")
    ]
    assert place(locator, "Braintree").iso_code == ""
    found = locator.locate([*english, "Braintree"])[-1]
    assert found.iso_code == "GB"
    assert "in this table" in found.rule


def test_a_table_that_speaks_against_a_name_makes_it_an_abstention(locator: Locator) -> None:
    assert place(locator, "Perth").iso_code == "AU"
    scottish = ["Edinburgh, Scotland"] * 12
    assert locator.locate([*scottish, "Perth"])[-1].iso_code == ""


def test_texts_keep_their_order_and_number(place_cache: Path) -> None:
    found = locate(["Paris", "", "Cremona", "Paris"], "offline", place_cache)
    assert [location.iso_code for location in found] == ["FR", "", "IT", "FR"]
    assert [location.text for location in found] == ["Paris", "", "Cremona", "Paris"]


def test_a_word_that_is_no_way_to_geocode_is_named(place_cache: Path) -> None:
    with pytest.raises(DataError, match="offlin'.*Did you mean `offline`"):
        locate(["Paris"], "offlin", place_cache)  # type: ignore[arg-type]


def test_the_command_reads_arguments_or_lines_and_prints_json(place_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(place_cache))
    shown = CliRunner().invoke(main, ["locate", "--json", "-"], input="Cremona\nYugoslavia\n")
    assert shown.exit_code == 0
    assert [(entry["text"], entry["iso_code"]) for entry in json.loads(shown.output)] == [("Cremona", "IT"), ("Yugoslavia", "")]
    assert set(json.loads(shown.output)[0]) == {"text", "country", "iso_code", "method", "confidence", "rule"}
    assert "Cremona\tIT\tItaly" in CliRunner().invoke(main, ["locate", "Cremona"]).output


@pytest.mark.shared_data
def test_every_tate_place_is_read_and_fewer_than_one_percent_are_left(locator: Locator, shared_data: Path) -> None:
    with (shared_data / "tate_artists" / "artist_data.csv").open(encoding="utf-8-sig", newline="") as file:
        texts = [row["placeOfBirth"] for row in csv.DictReader(file) if row["placeOfBirth"].strip()]
    found = locator.locate(texts)
    assert len(found) == len(texts)
    assert sum(not location.is_resolved for location in found) < 0.01 * len(texts)
