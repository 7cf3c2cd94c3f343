import pytest

from study.errors import TrackingError
from study.tracking.records import ERROR_TAG, TRACEBACK_TAG, params_of, recorded, shortened, trial_name
from study.trial import TrialConfig, dotted_fields


def test_params_are_every_key_of_the_recipe_by_its_dotted_name() -> None:
    params = params_of(TrialConfig(seed=3))
    unset = {"image_size", "dropout", "ema_decay", "patience", "optimizer.gradient_clip", "compute.micro_batch"}
    assert set(params) == set(dotted_fields(TrialConfig)) - unset
    assert params["optimizer.lr"] == "0.001"


def test_an_unset_param_is_left_out() -> None:
    assert "seed" not in params_of(TrialConfig(seed=None))


def test_a_trials_name_tells_its_number_and_backbone() -> None:
    assert trial_name(7, TrialConfig(backbone="vgg16")) == "trial 007 vgg16"


def test_names_that_mlflow_takes_stay_as_they_are() -> None:
    metrics = {"val_loss": 0.5, "val_recall.T-shirt 1.0: blue_ü": 0.25}
    assert recorded(metrics) == metrics


def test_two_classes_whose_names_become_one_are_refused_in_one_line() -> None:
    with pytest.raises(TrackingError, match="Rename one of the classes") as raised:
        recorded({"val_recall.a&b": 0.1, "val_recall.a+b": 0.2})
    assert "a&b" in str(raised.value)
    assert "a+b" in str(raised.value)


def test_long_tags_are_cut_where_it_hurts_least() -> None:
    short = shortened({ERROR_TAG: "\nfirst\nsecond", TRACEBACK_TAG: "a" * 9000 + "end", "other": "b" * 9000 + "end"})
    assert short[ERROR_TAG] == "first"
    assert short[TRACEBACK_TAG] == "a" * 7997 + "end"
    assert short["other"] == "b" * 8000
