import pytest
import torch
from torch import Tensor, nn

from study.models.classifier import Classifier
from study.training.averaging import RunningMean


def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    stages = {
        "frozen": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        "trained": nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    }
    return Classifier(stages, nn.Sequential(nn.Linear(6, 3)), num_frozen=1)


def train(model: Classifier, mean: RunningMean, num_steps: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """The model's tensors after each step."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
    seen = []
    for _ in range(num_steps):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(4, 3, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
        mean.update()
        seen.append(tensors_of(model))
    return seen


def tensors_of(model: Classifier) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


CHANGING = (
    *("stages.trained.0.weight", "stages.trained.0.bias", "stages.trained.1.weight", "stages.trained.1.bias"),
    *("head.0.weight", "head.0.bias", "stages.trained.1.running_mean", "stages.trained.1.running_var"),
)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_mean_is_the_written_out_sum_over_all_that_training_changes(decay: float) -> None:
    model = classifier()
    expected = {name: tensors_of(model)[name].double() for name in CHANGING}
    mean = RunningMean(model, decay)
    for number, seen in enumerate(train(model, mean, 12)):
        kept = min(decay, (1 + number) / (10 + number))
        expected = {name: kept * value + (1 - kept) * seen[name].double() for name, value in expected.items()}
    found = mean.state_tensors()
    assert sorted(found) == sorted((*CHANGING, "num_updates"))
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-6)


def test_ten_steps_leave_almost_nothing_of_the_initial_weights() -> None:
    model = classifier()
    mean = RunningMean(model, 0.9999)
    with torch.no_grad():
        model.head[0].bias.fill_(1.0)  # type: ignore[index]
    initial = mean.state_tensors()["head.0.bias"].clone()
    for _ in range(10):
        mean.update()
    left = (1 - mean.state_tensors()["head.0.bias"]) / (1 - initial)
    assert float(left.max()) < 2e-5


def test_the_model_has_the_mean_within_applied_and_its_own_weights_after_it_bit_for_bit() -> None:
    model = classifier()
    mean = RunningMean(model, 0.9)
    own = train(model, mean, 3)[-1]
    with mean.applied():
        inside = tensors_of(model)
    assert all(torch.equal(inside[name], mean.state_tensors()[name]) for name in CHANGING)
    assert not torch.equal(inside["head.0.weight"], own["head.0.weight"])
    assert all(torch.equal(value, own[name]) for name, value in tensors_of(model).items())


def test_a_failed_evaluation_gives_the_weights_back_too() -> None:
    model = classifier()
    mean = RunningMean(model, 0.9)
    own = train(model, mean, 2)[-1]
    with pytest.raises(RuntimeError, match="no memory"), mean.applied():
        raise RuntimeError("no memory")
    assert all(torch.equal(value, own[name]) for name, value in tensors_of(model).items())
    mean.update()


def test_averaging_does_not_change_the_training() -> None:
    one, other = classifier(), classifier()
    mean = RunningMean(one, 0.9)
    train(one, mean, 2)
    with mean.applied():
        one.eval()
    train(one, mean, 2, seed=1)
    train(other, RunningMean(other, 0.99), 2)
    train(other, RunningMean(other, 0.99), 2, seed=1)
    assert all(map(torch.equal, tensors_of(one).values(), tensors_of(other).values()))


def test_a_loaded_mean_goes_on_bit_for_bit() -> None:
    model = classifier()
    mean = RunningMean(model, 0.99)
    train(model, mean, 4)
    resumed = classifier(seed=5)
    resumed.load_state_dict(model.state_dict())
    other = RunningMean(resumed, 0.99)
    other.load(mean.state_tensors())
    train(model, mean, 2, seed=9)
    train(resumed, other, 2, seed=9)
    assert all(torch.equal(value, other.state_tensors()[name]) for name, value in mean.state_tensors().items())


def test_the_mean_of_a_head_alone_is_of_its_two_tensors() -> None:
    model = Classifier({"all": nn.BatchNorm1d(4)}, nn.Linear(4, 2), num_frozen=1)
    assert sorted(RunningMean(model, 0.9).state_tensors()) == ["head.bias", "head.weight", "num_updates"]
