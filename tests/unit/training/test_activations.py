import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.study_data import StudyData
from study.models.classifier import build_classifier
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.training.activations import ActivationInputs, activations_key, open_inputs, plan_cache
from study.training.batches import ImageInputs
from study.trial import Normalization, TrialConfig

CPU = torch.device("cpu")


def image_inputs(data: StudyData, config: TrialConfig) -> ImageInputs:
    model = build_classifier(config, data.num_classes, ResolvedWeights(None, RANDOM_DIGEST), seed=0)
    return ImageInputs(data.images, make_normalizer(config.normalization, data.statistics), model, CPU)


def config_of(
    freeze_depth: float = 1.0, backbone: str = "squeezenet1_1", normalization: Normalization = "imagenet"
) -> TrialConfig:
    return TrialConfig(backbone=backbone, freeze_depth=freeze_depth, normalization=normalization)


@pytest.mark.parametrize("is_shared", [True, False])
def test_cached_activations_are_what_the_frozen_stages_give(is_shared: bool, striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, config_of())
    used = np.concatenate([striped_data.splits.train, striped_data.splits.val])
    inputs = open_inputs(images, used, key="key", folder=tmp_path if is_shared else None)
    assert isinstance(inputs, ActivationInputs)
    asked = used[[40, 3, 17, 3]]
    torch.testing.assert_close(inputs.batch(asked), images.batch(asked), atol=1e-5, rtol=1e-5)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == (["key.npy"] if is_shared else [])


def test_a_shared_file_is_computed_once_even_by_trials_that_start_together(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, config_of())
    num_batches: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(images, name)

        def batch(self, indices: np.ndarray) -> torch.Tensor:
            num_batches.append(len(indices))
            return images.batch(indices)

    def open_once() -> None:
        open_inputs(Counting(), striped_data.splits.train, key="key", folder=tmp_path)  # type: ignore[arg-type]

    threads = [threading.Thread(target=open_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each looks at one photo to learn the shape.
    assert sum(num_batches) == len(striped_data.splits.train) + 3


def test_a_file_that_is_not_whole_is_made_anew(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, config_of())
    train = striped_data.splits.train
    expected = open_inputs(images, train, key="key", folder=tmp_path).batch(train).clone()
    path = tmp_path / "key.npy"
    for broken in (path.read_bytes()[:-50], b"", b"no array"):
        path.unlink()
        path.write_bytes(broken)
        assert torch.equal(open_inputs(images, train, key="key", folder=tmp_path).batch(train), expected)


def test_training_steps_cannot_change_the_shared_file(striped_data: StudyData, tmp_path: Path) -> None:
    inputs = open_inputs(image_inputs(striped_data, config_of()), striped_data.splits.train, key="key", folder=tmp_path)
    before = (tmp_path / "key.npy").read_bytes()
    inputs.batch(striped_data.splits.train).zero_()
    assert isinstance(inputs, ActivationInputs)
    inputs.features.zero_()
    assert (tmp_path / "key.npy").read_bytes() == before


def test_activations_are_kept_only_where_it_pays(striped_data: StudyData) -> None:
    nothing_frozen = plan_cache(image_inputs(striped_data, config_of(0.0)), 42)
    assert (nothing_frozen.is_cached, nothing_frozen.reason) == (False, "activations not cached: no stage is frozen")
    # The first stage makes 64 × 7 × 7 = 3,136 numbers of the 3,072 of a photo of 32 px.
    wide = plan_cache(image_inputs(striped_data, config_of(0.1)), 42)
    assert (wide.is_cached, wide.shape) == (False, (42, 64, 7, 7))
    assert wide.reason == "activations not cached: [64, 7, 7] a photo is larger than the photo"
    pooled = plan_cache(image_inputs(striped_data, config_of(1.0)), 42)
    assert (pooled.is_cached, pooled.shape, pooled.num_bytes) == (True, (42, 512), 42 * 512 * 4)
    assert not plan_cache(image_inputs(striped_data, config_of(1.0)), 42, budget_bytes=42 * 512 * 4 - 1).is_cached


def test_inputs_that_are_not_cached_are_the_images(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, config_of(0.0))
    assert open_inputs(images, striped_data.splits.train, key="key", folder=tmp_path) is images


def test_the_key_changes_with_everything_that_the_activations_depend_on(striped_data: StudyData) -> None:
    train = striped_data.splits.train

    def key(
        config: TrialConfig | None = None, data: StudyData = striped_data, used: np.ndarray = train, weights: str = "weights"
    ) -> str | None:
        config = config or config_of()
        return activations_key(data, used, config, weights, image_inputs(data, config))

    assert key() == key()
    others = [
        key(data=replace(striped_data, digest="other")),
        key(used=train[1:]),
        key(weights="others"),
        key(config_of(0.5)),
        key(config_of(backbone="squeezenet1_0")),
        key(config_of(normalization="global")),
        key(config_of(normalization="local")),
        key(TrialConfig(backbone="squeezenet1_1", head="append")),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_what_the_activations_do_not_depend_on_leaves_the_key_as_it_is(striped_data: StudyData) -> None:
    def key(**values: object) -> str | None:
        config = config_of().model_copy(update=values)
        return activations_key(striped_data, striped_data.splits.train, config, "weights", image_inputs(striped_data, config))

    assert key() == key(epochs=3) == key(batch_size=5) == key(imbalance="weighted_loss")


def test_activations_of_random_weights_are_shared_with_nobody(striped_data: StudyData) -> None:
    config = config_of()
    assert activations_key(striped_data, np.arange(3), config, RANDOM_DIGEST, image_inputs(striped_data, config)) is None
