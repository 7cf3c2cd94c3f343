"""A model that left the house is trained further and leaves it again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from study.models.contract import CONTRACT_VERSION
from study.models.exported import WEIGHTS_FILE, load_exported
from study.models.trainable import TrainableModel
from study.models.weight_files import digest_of

from .test_exported import export, photos


def step(model: TrainableModel) -> None:
    optimizer = torch.optim.SGD(model.classifier.trainable_parameters(), lr=0.1)
    model.train()
    loss = torch.nn.functional.cross_entropy(model(model.preprocess(photos(4))), torch.tensor([0, 1, 2, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def test_a_step_of_an_optimizer_changes_the_answers_and_not_the_file(tmp_path: Path) -> None:
    export(tmp_path / "model")
    digest, before = digest_of(tmp_path / "model" / WEIGHTS_FILE), load_exported(tmp_path / "model").predict(photos(3))
    model = TrainableModel(load_exported(tmp_path / "model"))
    step(model)
    again = model.export(tmp_path / "further", study="violins, further")
    assert digest_of(tmp_path / "model" / WEIGHTS_FILE) == digest
    after = load_exported(tmp_path / "further").predict(photos(3))
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(again.predict(photos(3)), after)
    contract = load_exported(tmp_path / "further").contract
    assert (contract.study, contract.temperature, contract.metrics) == ("violins, further", 1.0, {})
    assert contract.contract_version == CONTRACT_VERSION


def test_frozen_stages_stay_frozen_unless_they_are_freed(tmp_path: Path) -> None:
    export(tmp_path)
    kept = TrainableModel(load_exported(tmp_path))
    freed = TrainableModel(load_exported(tmp_path, freeze_depth=0.0))
    assert len(kept.classifier.frozen_stages) > 0
    assert all(parameter.requires_grad for parameter in freed.parameters())
    first = {name: value.clone() for name, value in freed.classifier.stages[0].state_dict().items()}
    step(freed)
    assert any(not torch.equal(first[name], value) for name, value in freed.classifier.stages[0].state_dict().items())


def test_scores_are_those_behind_the_probabilities(tmp_path: Path) -> None:
    export(tmp_path)
    model = TrainableModel(load_exported(tmp_path)).eval()
    with torch.no_grad():
        scores = model(model.preprocess(photos(3)))
    np.testing.assert_allclose(scores.softmax(dim=1), load_exported(tmp_path).predict(photos(3)), atol=1e-6)
    assert model.classes == ("cello", "viola", "violin")


def test_an_unknown_field_of_the_contract_is_refused(tmp_path: Path) -> None:
    export(tmp_path)
    with pytest.raises(ValueError, match="labels"):
        TrainableModel(load_exported(tmp_path)).export(tmp_path / "new", labels=["a"])
