from dataclasses import replace

from study.analysis.note import note_of
from study.tracking.records import MAX_TAG
from tests.analysis_examples import compared, study_example, with_trials

STUDY = study_example()


def test_a_note_tells_the_question_the_answer_and_how_sure_it_is() -> None:
    comparison = compared(STUDY)
    note = note_of(STUDY, comparison)
    assert note.startswith("**Which transfer recipe sorts ten kinds of clothing best?**")
    assert "exploratory" in note
    for effect in comparison.effects:
        assert f"`{effect.factor}`" in note
    for recipe in comparison.confirmed:
        assert recipe.test is not None
        assert f"| {recipe.trial} | {recipe.role} |" in note
        assert f"{recipe.test.low:.3g} to {recipe.test.high:.3g}" in note
    assert "models:/clothing@champion" in note


def test_a_note_fits_into_a_tag_of_mlflow() -> None:
    assert len(note_of(STUDY, compared(STUDY))) < MAX_TAG


def test_no_markdown_is_read_out_of_what_people_wrote() -> None:
    asked = STUDY.definition.model_copy(update={"question": "Is [this](http://x) | *it*?"})
    note = note_of(replace(STUDY, definition=asked), compared(STUDY))
    assert note.startswith(r"**Is \[this\](http://x) \| \*it\*?**")


def test_a_study_without_trials_has_a_note_too() -> None:
    empty = with_trials(STUDY, [])
    comparison = replace(compared(STUDY), effects=[], confirmed=[], answer=["No trial completed."], warnings=[])
    note = note_of(empty, comparison)
    assert "No trial completed" in note
    assert "models:/" not in note


def test_why_a_search_stopped_early_is_told() -> None:
    stopped = replace(STUDY, tags={"study.stop_reason": "target 0.9 was reached"})
    assert "Stopped before all its trials: target 0.9 was reached" in note_of(stopped, compared(STUDY))
