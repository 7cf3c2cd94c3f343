import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.study_data import StudyData
from study.errors import NonFiniteLossError, TrialError
from study.models.normalization import make_normalizer
from study.training.evaluation import evaluate_split
from study.training.loop import fit
from study.trial import Imbalance, OptimizerConfig, OptimizerName
from tests.trainings import CIRCUMSTANCES, CPU, begin, build, config_of, outcomes, run


@pytest.mark.parametrize("imbalance", ["none", "weighted_loss", "balanced_subset", "weighted_sampling"])
def test_a_small_data_set_is_learnt_by_a_head_alone(imbalance: Imbalance, striped_data: StudyData) -> None:
    last = run(striped_data, config_of(epochs=40, freeze_depth=1.0, imbalance=imbalance))[-1]
    assert last.metrics["val_balanced_accuracy"] >= 0.9
    assert last.metrics["val_loss"] < 0.5


def test_a_small_data_set_is_learnt_by_a_whole_network_with_batch_norm(striped_data: StudyData) -> None:
    optimizer = OptimizerConfig(name="adam", lr=1e-3)
    last = run(striped_data, config_of(backbone="resnet18", freeze_depth=0.0, epochs=5, optimizer=optimizer))[-1]
    assert last.metrics["val_balanced_accuracy"] >= 0.9


def test_a_measurement_has_exactly_the_fixed_names(striped_data: StudyData) -> None:
    (one,) = run(striped_data, config_of(epochs=1))
    by_class = {f"val_{kind}.{name}" for name in striped_data.classes for kind in ("recall", "precision")}
    assert set(one.metrics) == by_class | {
        *("train_loss", "lr", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_calibration_error"),
        *CIRCUMSTANCES,
    }
    assert one.epoch == 1


def test_a_share_of_the_training_photos_is_trained_on_and_all_others_are_measured(striped_data: StudyData) -> None:
    training = begin(striped_data, config_of(train_share=0.5))
    taught = np.unique(training.strategy.epoch_order(1))
    assert set(taught) < set(striped_data.splits.train)
    assert len(taught) == len(striped_data.splits.train) // 2
    assert training.examples.val.tolist() == striped_data.splits.val.tolist()


@pytest.mark.parametrize("freeze_depth", [0.0, 0.5, 1.0])
def test_the_same_seed_gives_the_same_measurements_bit_for_bit(freeze_depth: float, striped_data: StudyData) -> None:
    config = config_of(freeze_depth=freeze_depth)  # squeezenet's head has a dropout
    first = run(striped_data, config, seed=3)
    torch.manual_seed(99)
    assert outcomes(run(striped_data, config, seed=3)) == outcomes(first)
    assert outcomes(run(striped_data, config, seed=4)) != outcomes(first)


def test_the_global_generators_are_left_as_they_were(striped_data: StudyData) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    run(striped_data, config_of())
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]  # noqa: NPY002


def test_what_the_consumer_draws_between_epochs_changes_nothing(striped_data: StudyData) -> None:
    config = config_of(epochs=3)
    disturbed = []
    for measurement in fit(begin(striped_data, config)):
        torch.rand(5)
        disturbed.append(measurement)
    assert outcomes(disturbed) == outcomes(run(striped_data, config))


def test_a_shorter_training_is_the_beginning_of_a_longer_one(striped_data: StudyData) -> None:
    assert outcomes(run(striped_data, config_of(epochs=3)))[:2] == outcomes(run(striped_data, config_of(epochs=2)))


@pytest.mark.parametrize(("backbone", "freeze_depth"), [("resnet18", 0.6), ("squeezenet1_1", 0.5), ("resnet18", 1.0)])
def test_training_changes_all_that_is_trainable_and_nothing_that_is_frozen(
    backbone: str, freeze_depth: float, striped_data: StudyData
) -> None:
    config = config_of(backbone=backbone, freeze_depth=freeze_depth)
    model = build(config, striped_data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(striped_data, config, model=model)
    frozen = tuple(f"stages.{name}." for name in list(model.stages._modules)[: model.num_frozen])
    for name, tensor in model.state_dict().items():  # batch norm's running statistics are in it
        assert torch.equal(tensor, before[name]) == name.startswith(frozen), name


@pytest.mark.parametrize(("backbone", "freeze_depth"), [("squeezenet1_1", 1.0), ("resnet18", 0.6)])
def test_cached_activations_give_the_loss_that_images_give(
    backbone: str, freeze_depth: float, striped_data: StudyData, tmp_path: Path
) -> None:
    # Plain SGD: Adam divides by a gradient's size, and so makes rounding in the last place visible.
    optimizer = OptimizerConfig(name="sgd", lr=1e-3, momentum=0.0)
    config = config_of(backbone=backbone, freeze_depth=freeze_depth, optimizer=optimizer)
    uncached = run(striped_data, config, weights_digest="pretend", folder=tmp_path / "small", budget_bytes=0)
    in_memory = run(striped_data, config)
    written = run(striped_data, config, weights_digest="pretend", folder=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    read = run(striped_data, config, weights_digest="pretend", folder=tmp_path)
    assert outcomes(read) == outcomes(written) == outcomes(in_memory)
    for one, other in zip(uncached, read, strict=True):
        for name in ("train_loss", "val_loss"):
            assert one.metrics[name] == pytest.approx(other.metrics[name], rel=1e-5)


def test_random_weights_leave_nothing_in_the_activations_folder(striped_data: StudyData, tmp_path: Path) -> None:
    run(striped_data, config_of(), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_pruning_is_a_consumer_that_stops(striped_data: StudyData) -> None:
    config = config_of(epochs=1000)
    epochs = fit(begin(striped_data, config))
    assert [one.epoch for one in itertools.islice(epochs, 2)] == [1, 2]


@pytest.mark.parametrize("batch_size", [1000, 41])  # 42 training photos: one batch, and 41 + 1 joined
def test_a_batch_may_be_larger_than_the_data(batch_size: int, striped_data: StudyData) -> None:
    config = config_of(backbone="resnet18", freeze_depth=0.0, epochs=1, batch_size=batch_size)
    assert math.isfinite(run(striped_data, config)[0].metrics["train_loss"])


def test_batch_norm_on_single_photos_is_refused_with_the_fix(striped_data: StudyData) -> None:
    config = config_of(backbone="resnet18", freeze_depth=0.0, batch_size=1, imbalance="balanced_subset")
    with pytest.raises(TrialError, match="batch_size = 2 or more"):
        run(striped_data, config)


def test_single_photos_train_where_no_batch_norm_is_trained(striped_data: StudyData) -> None:
    assert run(striped_data, config_of(backbone="resnet18", freeze_depth=1.0, batch_size=1, epochs=1))


def test_a_loss_that_is_not_finite_is_told_with_epoch_step_lr_and_the_fix(striped_data: StudyData) -> None:
    config = config_of(freeze_depth=0.0, optimizer=OptimizerConfig(name="sgd", lr=1e6))
    with pytest.raises(
        NonFiniteLossError, match=r"in epoch 1, step \d, with optimizer\.lr=1e\+06\. Lower it, e\.g\. to 100000"
    ):
        run(striped_data, config)


def test_a_loss_that_becomes_infinite_after_the_last_step_is_told_too(striped_data: StudyData) -> None:
    config = config_of(freeze_depth=0.0, batch_size=64, optimizer=OptimizerConfig(name="sgd", lr=1e30))
    with pytest.raises(NonFiniteLossError, match="in the validation of epoch 1"):
        run(striped_data, config)


def test_weighted_loss_trains_on_the_papers_weights(striped_data: StudyData) -> None:
    config = config_of(imbalance="weighted_loss", batch_size=64, epochs=1, freeze_depth=1.0, backbone="resnet18")
    model = build(config, striped_data)
    train = striped_data.splits.train
    labels = torch.tensor(striped_data.labels[train])
    weights = torch.tensor([1 / 24, 1 / 12, 1 / 6])

    with torch.no_grad():
        logits = model(make_normalizer("global", striped_data.statistics)(torch.tensor(striped_data.images[train])))
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = (losses * weights[labels]).sum() / weights[labels].sum()
    (one,) = run(striped_data, config, model=model)
    assert one.metrics["train_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_evaluate_gives_what_the_last_epoch_measured(striped_data: StudyData) -> None:
    config = config_of(freeze_depth=0.5)
    model = build(config, striped_data)
    last = run(striped_data, config, model=model)[-1]
    found = evaluate_split(model, striped_data, "val", normalization="global", device=CPU, batch_size=4)
    assert found.confusion is not None
    assert [sum(row) for row in found.confusion.counts] == np.bincount(striped_data.labels[striped_data.splits.val]).tolist()
    for name, value in found.named("val").items():
        assert value == pytest.approx(last.metrics[name], rel=1e-5)
    np.testing.assert_array_equal(found.predictions.shape, striped_data.splits.val.shape)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_head_has_the_same_weights_with_and_without_a_cache_on_any_number_of_threads(
    optimizer: OptimizerName, striped_data: StudyData
) -> None:
    config = config_of(backbone="resnet18", freeze_depth=1.0, optimizer=OptimizerConfig(name=optimizer, lr=1e-3))
    off = config_of(**config.model_dump(exclude={"compute"}), compute={"activation_cache": "off"})
    cached, computed = begin(striped_data, config), begin(striped_data, off)
    torch.set_num_threads(2)  # the features come from as many, the head from one
    for training in (cached, computed):
        list(fit(training))
    assert (cached.facts()["activation_cache"], computed.facts()["activation_cache"]) == ("computed", "off")
    for name, tensor in cached.best_tensors.items():
        torch.testing.assert_close(computed.best_tensors[name], tensor, rtol=0, atol=1e-6, msg=name)
