import pytest
import torch

from study.models.classifier import build_classifier
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.training.optimizers import make_optimizer
from study.trial import OptimizerConfig, OptimizerName, TrialConfig


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_optimizer_has_the_trainable_parameters_only_and_the_values_asked_for(name: OptimizerName) -> None:
    config = TrialConfig(backbone="squeezenet1_1", freeze_depth=0.5)
    model = build_classifier(config, 3, ResolvedWeights(None, RANDOM_DIGEST), seed=0)
    optimizer = make_optimizer(model, OptimizerConfig(name=name, lr=0.02, momentum=0.8, weight_decay=0.1))
    (group,) = optimizer.param_groups
    assert {id(value) for value in group["params"]} == {id(value) for value in model.parameters() if value.requires_grad}
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.1)
    assert group.get("momentum") == (0.8 if name == "sgd" else None)
    assert type(optimizer) is {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
