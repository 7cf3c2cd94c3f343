"""timm's models; those called test_… are small ones that timm made for tests."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from study.errors import ModelError
from study.models import imagenet_files, timm_models
from study.models.backbones import check_backbone, cut, make_network
from study.models.classifier import build_classifier
from study.models.exported import ModelContract, load_exported, save_exported
from study.models.loaded_networks import LoadedNetworks
from study.models.normalization import Normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights, load_network, resolve_weights
from study.trial import TrialConfig

RANDOM = ResolvedWeights(None, RANDOM_DIGEST)
SMALL = ["timm/test_resnet", "timm/test_vit", "timm/test_convnext", "timm/test_efficientnet"]


def test_without_timm_a_timm_backbone_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ModelError, match=re.escape("pip install 'study[timm]'")):
        check_backbone("timm/resnet18", 224)


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm", reason="the optional extra `timm` is not installed")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", SMALL)
def test_stages_partition_the_parameters_and_a_step_trains_what_is_not_frozen(name: str) -> None:
    check_backbone(name, 64)
    for head in ("replace", "append"):
        config = TrialConfig(backbone=name, head=head, freeze_depth=0.5)
        model = build_classifier(config, 3, RANDOM, 0, image_size=64)
        stages = list(model.stages)
        assert len(stages) >= 5
        whole = sum(parameter.numel() for parameter in make_network(name, 64).parameters())
        logits = cut(name, make_network(name, 64)).logits
        assert logits is not None
        last = sum(parameter.numel() for parameter in logits.parameters())
        held = sum(parameter.numel() for parameter in model.stages.parameters())
        assert held == (whole if head == "append" else whole - last)
        images = torch.rand(2, 3, 64, 64)
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
        for place, stage in enumerate(stages):
            has_gradient = {parameter.grad is not None for parameter in stage.parameters()}
            assert has_gradient == {place >= model.num_frozen}


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", SMALL)
def test_no_stage_changes_the_activations_that_it_reads(name: str) -> None:
    model = build_classifier(TrialConfig(backbone=name, freeze_depth=0.0), 3, RANDOM, 0, image_size=64)
    activations = torch.rand(2, 3, 64, 64)
    for part in (*model.stages, model.head):
        before = activations.clone()
        with torch.no_grad():
            after = part(activations)
        assert torch.equal(activations, before)
        activations = after


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", SMALL)
def test_a_model_that_is_exported_and_loaded_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    config = TrialConfig(backbone=name, freeze_depth=0.5)
    model = build_classifier(config, 2, RANDOM, 0, image_size=64).to(memory_format=torch.channels_last).eval()
    contract = ModelContract(
        classes=("cello", "violin"),
        image_size=64,
        normalization=Normalizer(kind="local"),
        backbone=name,
        head="replace",
        freeze_depth=0.5,
        data_digest="d",
        study="instruments",
        trial_number=0,
    )
    save_exported(tmp_path, model, contract)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(contract.normalization(torch.tensor(pixels))).softmax(dim=1)
    np.testing.assert_allclose(load_exported(tmp_path).predict_pixels(pixels), expected.numpy(), atol=1e-6)


@pytest.mark.usefixtures("timm")
def test_weights_of_another_size_are_interpolated_and_kept_networks_are_the_same(tmp_path: Path) -> None:
    name = "timm/test_vit"
    torch.manual_seed(0)
    save_file(make_network(name).state_dict(), tmp_path / "vit.safetensors")
    weights = resolve_weights(name, "vit.safetensors", tmp_path)
    assert load_network(name, weights, 64).get_parameter("pos_embed").shape[1] == (64 // 16) ** 2 + 1
    networks, config = LoadedNetworks(), TrialConfig(backbone=name, freeze_depth=0.5)
    cold, kept, alone = (
        build_classifier(config, 3, weights, 0, image_size=64, networks=each) for each in (networks, networks, None)
    )
    for one, other in ((cold, kept), (cold, alone)):
        for first, second in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(first, second)


@pytest.mark.usefixtures("timm")
def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file(make_network("timm/test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(ModelError, match=r"resnet\.safetensors does not fit") as caught:
        resolve_weights("timm/test_vit", "resnet.safetensors", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "image_size", "told"),
    [
        ("timm/resnet19", 224, "Did you mean `resnet18`?"),
        ("timm/test_resnet.nonsense", 224, "must be a model of timm"),
        ("timm/hf-hub:somebody/something", 224, "must be a model of timm"),
        ("timm/test_vit", 100, "no multiple of its patches; 96 and 112 are"),
        ("timm/hrnet_w18_small", 64, "is not understood"),
        ("timm/deit_tiny_distilled_patch16_224", 224, "its classifier is tuple"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_clear_error(name: str, image_size: int, told: str) -> None:
    with pytest.raises(ModelError, match=re.escape(told)) as caught:
        check_backbone(name, image_size)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("timm")
def test_a_model_whose_stages_compute_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Any = type(make_network("timm/test_resnet"))
    compute = whole.forward_features
    monkeypatch.setattr(whole, "forward_features", lambda self, images: compute(self, images) + 1e-6)
    with pytest.raises(ModelError, match="compute something else than the whole"):
        check_backbone("timm/test_resnet", 64)


@pytest.mark.usefixtures("timm")
def test_without_network_published_weights_are_told_and_random_ones_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_files, "_answers", lambda url: False)
    name = "timm/test_vit2"  # nobody has it in a cache
    with pytest.raises(ModelError, match=r"huggingface\.co does not answer"):
        resolve_weights(name, "imagenet", Path())
    assert resolve_weights(name, "if_available", Path()).digest == RANDOM_DIGEST
    assert "none are published" in resolve_weights("timm/ghostnet_050", "if_available", Path()).note


@pytest.mark.usefixtures("timm")
def test_weights_in_the_hubs_cache_are_used_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub  # type: ignore[import-not-found,unused-ignore]

    name = "timm/test_resnet"
    repository, file = timm_models.hub_file(name) or ("", "")
    folder = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / "main"
    folder.mkdir(parents=True)
    save_file(make_network(name).state_dict(), folder / file)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(imagenet_files, "_answers", lambda url: pytest.fail("it asked the network"))
    assert resolve_weights(name, "imagenet", Path()).path == folder / file
