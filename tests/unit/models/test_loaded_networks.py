from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from study.models.backbones import make_network
from study.models.classifier import Classifier, build_classifier
from study.models.loaded_networks import LoadedNetworks
from study.models.weights import RANDOM_DIGEST, ResolvedWeights, resolve_weights
from study.trial import ComputeConfig, Head, TrialConfig

BACKBONE = "squeezenet1_1"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> ResolvedWeights:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    save_file(make_network(BACKBONE).state_dict(), folder / "mine.safetensors")
    return resolve_weights(BACKBONE, "mine.safetensors", folder)


def build(
    weights: ResolvedWeights,
    networks: LoadedNetworks | None,
    freeze_depth: float = 0.5,
    head: Head = "replace",
    channels_last: bool = True,
    seed: int = 0,
) -> Classifier:
    config = TrialConfig(
        backbone=BACKBONE, freeze_depth=freeze_depth, head=head, compute=ComputeConfig(channels_last=channels_last)
    )
    return build_classifier(config, 3, weights, seed, image_size=32, networks=networks)


def train_a_step(model: Classifier) -> None:
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
    nn.functional.cross_entropy(model.train()(IMAGES), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def state_of(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def is_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("head", ["replace", "append"])
@pytest.mark.parametrize("freeze_depth", [0.0, 0.5, 1.0])
def test_a_classifier_of_a_kept_network_is_that_of_its_file(weights: ResolvedWeights, freeze_depth: float, head: Head) -> None:
    networks = LoadedNetworks()
    expected = build(weights, None, freeze_depth, head)
    for _ in range(2):  # just loaded, and kept
        found = build(weights, networks, freeze_depth, head)
        assert is_same(state_of(found), state_of(expected))
        assert [parameter.requires_grad for parameter in found.parameters()] == [
            parameter.requires_grad for parameter in expected.parameters()
        ]
        assert [module.training for module in found.modules()] == [module.training for module in expected.modules()]


def test_a_warm_trial_reads_no_file(weights: ResolvedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = LoadedNetworks()
    build(weights, networks)
    monkeypatch.setattr("study.models.loaded_networks.load_network", lambda *_: pytest.fail("it read the file again"))
    build(weights, networks, freeze_depth=0.0)


def test_frozen_stages_are_shared_and_trained_ones_are_not(weights: ResolvedWeights) -> None:
    networks = LoadedNetworks()
    first, second = build(weights, networks, 0.5), build(weights, networks, 0.5, seed=1)
    for number, (one, other) in enumerate(zip(first.stages, second.stages, strict=True)):
        storages = [{value.data_ptr() for value in stage.parameters()} for stage in (one, other)]
        assert (storages[0] == storages[1]) == (number < first.num_frozen)


def test_training_leaves_what_is_kept_as_it_was(weights: ResolvedWeights) -> None:
    networks = LoadedNetworks()
    expected = state_of(build(weights, networks, 0.0))
    for freeze_depth in (0.0, 0.5, 1.0):
        train_a_step(build(weights, networks, freeze_depth))
    assert is_same(state_of(build(weights, networks, 0.0)), expected)
    assert all(parameter.requires_grad for parameter in build(weights, networks, 0.0).parameters())


def test_a_trial_after_others_trains_as_the_first_one_would(weights: ResolvedWeights) -> None:
    networks = LoadedNetworks()
    train_a_step(build(weights, networks, 1.0))
    trained, alone = build(weights, networks, 0.5), build(weights, None, 0.5).to(memory_format=torch.channels_last)
    for model in (trained, alone):
        torch.manual_seed(0)
        train_a_step(model)
    assert is_same(state_of(trained), state_of(alone))


def test_a_classifier_that_is_moved_moves_nobody_elses_stages(weights: ResolvedWeights) -> None:
    networks = LoadedNetworks()
    moved, other = build(weights, networks, 1.0), build(weights, networks, 1.0)
    before = [parameter.data_ptr() for parameter in other.stages.parameters()]
    moved.to(memory_format=torch.channels_last)
    assert [parameter.data_ptr() for parameter in moved.stages.parameters()] == before  # it was so already
    moved.to(torch.float64)
    assert {parameter.dtype for parameter in moved.parameters()} == {torch.float64}
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    assert [parameter.data_ptr() for parameter in other.stages.parameters()] == before


def test_each_layout_in_memory_is_kept_apart(weights: ResolvedWeights) -> None:
    networks = LoadedNetworks()
    for channels_last in (True, False, True):
        kernel = next(iter(build(weights, networks, channels_last=channels_last).stages.parameters()))
        assert kernel.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert [key.channels_last for key in networks.kept] == [False, True]


def test_random_weights_are_never_kept() -> None:
    networks = LoadedNetworks()
    random = ResolvedWeights(None, RANDOM_DIGEST)
    assert is_same(state_of(build(random, networks, seed=3)), state_of(build(random, None, seed=3)))
    assert networks.kept == ()


def test_the_longest_unused_networks_are_dropped_over_the_budget(tmp_path: Path) -> None:
    size = sum(value.numel() * value.element_size() for value in make_network(BACKBONE).state_dict().values())
    networks = LoadedNetworks(budget_bytes=2 * size)
    digests = []
    for seed in range(3):
        torch.manual_seed(seed)
        save_file(make_network(BACKBONE).state_dict(), tmp_path / f"{seed}.safetensors")
        weights = resolve_weights(BACKBONE, f"{seed}.safetensors", tmp_path)
        digests.append(weights.digest)
        build(weights, networks)
    assert [key.weights_digest for key in networks.kept] == digests[1:]
    small = LoadedNetworks(budget_bytes=1)
    build(weights, small)
    assert [key.weights_digest for key in small.kept] == digests[2:]  # the one in use is kept all the same
