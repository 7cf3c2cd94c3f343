import hashlib
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from study.errors import ModelError
from study.models import imagenet_files
from study.models.backbones import known_backbones, make_network
from study.models.weight_layouts import adapted, current_name, is_fitting
from study.models.weights import RANDOM_DIGEST, ResolvedWeights, load_network, resolve_weights

BACKBONE = "squeezenet1_1"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return make_network(BACKBONE).state_dict()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without network and with an empty TORCH_HOME; returns where its checkpoints belong."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(imagenet_files, "_torchvision_url", lambda name: f"https://127.0.0.1:9/models/{name}-00000000.pth")
    return tmp_path / "hub" / "checkpoints"


def test_none_is_random_weights() -> None:
    assert resolve_weights(BACKBONE, "none", Path()) == ResolvedWeights(None, RANDOM_DIGEST)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "pt"])
def test_a_path_is_relative_to_the_base_folder_and_named_by_its_digest(
    ending: str, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    resolved = resolve_weights(BACKBONE, path.name, tmp_path)
    assert resolved == ResolvedWeights(path, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    loaded = load_network(BACKBONE, resolved).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_half_precision_weights_become_float32(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "half.safetensors")
    network = load_network(BACKBONE, resolve_weights(BACKBONE, "half.safetensors", tmp_path))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_batch_norm_counters_may_be_missing_as_in_older_files(tmp_path: Path) -> None:
    kept = {name: value for name, value in make_network("resnet18").state_dict().items() if "num_batches" not in name}
    save_file(kept, tmp_path / "old.safetensors")
    network = load_network("resnet18", resolve_weights("resnet18", "old.safetensors", tmp_path))
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_a_wrong_shape_is_told_with_the_tensors_name_and_both_shapes(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors | {"classifier.1.weight": torch.zeros(10, 512, 1, 1)}, tmp_path / "ten.safetensors")
    message = "must hold `classifier.1.weight` with shape [1000, 512, 1, 1], but"
    with pytest.raises(ModelError, match=re.escape(message) + r".*ten\.safetensors has \[10, 512, 1, 1\]\."):
        resolve_weights(BACKBONE, "ten.safetensors", tmp_path)


def test_a_missing_and_a_foreign_tensor_are_told_by_name(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor for name, tensor in tensors.items() if name != "features.0.bias"}, tmp_path / "less.safetensors")
    save_file(tensors | {"extra": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(ModelError, match=r"`features\.0\.bias` with shape \[64\], but .*less\.safetensors has no such tensor"):
        resolve_weights(BACKBONE, "less.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"hold no `extra`, but .*more\.safetensors does, \[1\]"):
        resolve_weights(BACKBONE, "more.safetensors", tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 1000, -1000, -1])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_that_was_cut_short_is_refused(ending: str, kept: int, tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / f"cut.{ending}"
    if ending == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    resolved = resolve_weights(BACKBONE, path.name, tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    for use in (lambda: resolve_weights(BACKBONE, path.name, tmp_path), lambda: load_network(BACKBONE, resolved)):
        with pytest.raises(ModelError, match=rf"cut\.{ending} is damaged, cut short") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_pickle_with_code_in_it_is_refused_and_not_executed(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (touched,)

    torch.save({"weight": Malicious()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious(), protocol=2))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(ModelError, match="holds more than tensors"):
            resolve_weights(BACKBONE, name, tmp_path)
    assert not touched.exists()


def test_a_missing_path_and_another_kind_of_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ModelError, match=r"there is no .*nowhere\.safetensors"):
        resolve_weights(BACKBONE, "nowhere.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"must end in \.safetensors, \.pth or \.pt, but is .*weights\.h5"):
        resolve_weights(BACKBONE, "weights.h5", tmp_path)


def test_without_network_imagenet_weights_fail_at_once_and_say_where_to_put_the_file(offline: Path) -> None:
    started_s = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        resolve_weights(BACKBONE, "imagenet", Path())
    assert time.perf_counter() - started_s < 4
    message = str(caught.value)
    assert str(offline / f"{BACKBONE}-00000000.pth") in message
    assert "if_available" in message
    assert "\n" not in message


def test_without_network_if_available_falls_back_to_random_weights_and_says_so(offline: Path) -> None:
    resolved = resolve_weights(BACKBONE, "if_available", Path())
    assert resolved.digest == RANDOM_DIGEST
    assert "127.0.0.1:9 does not answer" in resolved.note


def test_a_host_that_never_answers_costs_no_more_than_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_files, "PROBE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(imagenet_files, "_probe", lambda url: time.sleep(2))
    started_s = time.perf_counter()
    assert not imagenet_files._answers("https://hanging.example")
    assert time.perf_counter() - started_s < 1


def test_weights_in_torch_home_are_used_without_network(
    offline: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline.mkdir(parents=True)
    torch.save(tensors, offline / "saved")
    digest = hashlib.sha256((offline / "saved").read_bytes()).hexdigest()
    path = (offline / "saved").rename(offline / f"{BACKBONE}-{digest[:8]}.pth")
    monkeypatch.setattr(imagenet_files, "_torchvision_url", lambda name: f"https://127.0.0.1:9/models/{path.name}")
    for wanted in ("imagenet", "if_available"):
        assert resolve_weights(BACKBONE, wanted, Path()) == ResolvedWeights(path, digest[:16])


def test_weights_in_torch_home_with_another_digest_than_their_name_are_refused(
    offline: Path, tensors: dict[str, Tensor]
) -> None:
    offline.mkdir(parents=True)
    torch.save(tensors, offline / f"{BACKBONE}-00000000.pth")
    with pytest.raises(ModelError, match="must have a SHA-256 that begins with 00000000"):
        resolve_weights(BACKBONE, "if_available", Path())


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("densenet121", lambda name: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)),
        ("mnasnet0_5", lambda name: name),
    ],
)
def test_files_in_the_names_of_older_versions_are_read(name: str, renamed: Callable[[str], str], tmp_path: Path) -> None:
    expected = make_network(name).state_dict()
    save_file({renamed(key): value for key, value in expected.items()}, tmp_path / "old.safetensors")
    loaded = load_network(name, resolve_weights(name, "old.safetensors", tmp_path)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


@pytest.mark.parametrize(("name", "auxiliary"), [("googlenet", {"aux_logits": True}), ("inception_v3", {"aux_logits": True})])
def test_auxiliary_heads_in_imagenet_files_are_left_out(name: str, auxiliary: dict[str, bool], tmp_path: Path) -> None:
    whole = torchvision.models.get_model(name, weights=None, init_weights=False, **auxiliary).state_dict()
    assert any("aux" in key.lower() for key in whole)
    torch.save(whole, tmp_path / "whole.pth")
    loaded = load_network(name, resolve_weights(name, "whole.pth", tmp_path)).state_dict()
    assert not any("aux" in key.lower() for key in loaded)
    assert all(torch.equal(value, whole[key]) for key, value in loaded.items())


def test_a_vits_positions_are_interpolated_to_the_photos_size(tmp_path: Path) -> None:
    file = {name: value for name, value in slim_vit(64).state_dict().items() if "mlp" not in name}
    network = slim_vit(96)
    state = adapted(file, network, 96)
    positions = state["encoder.pos_embedding"]
    assert positions.shape == (1, 1 + 3 * 3, 12)
    assert torch.equal(positions[:, 0], file["encoder.pos_embedding"][:, 0])
    torch.testing.assert_close(positions[:, 1], file["encoder.pos_embedding"][:, 1])  # corners stay
    same = adapted(file, slim_vit(64), 64)["encoder.pos_embedding"]
    assert torch.equal(same, file["encoder.pos_embedding"])


def slim_vit(image_size: int) -> VisionTransformer:
    return VisionTransformer(image_size, patch_size=32, num_layers=1, num_heads=2, hidden_dim=12, mlp_dim=8)


def test_only_square_grids_of_the_same_width_fit_as_positions() -> None:
    for found, is_right in (
        ([1, 50, 768], True),
        ([1, 5, 768], True),
        ([1, 51, 768], False),
        ([1, 50, 12], False),
        ([50], False),
    ):
        assert is_fitting("encoder.pos_embedding", found, [1, 197, 768]) == is_right
    assert not is_fitting("class_token", [1, 5, 768], [1, 1, 768])


def test_older_names_of_a_vits_layers_are_todays() -> None:
    old = "encoder.layers.encoder_layer_11.mlp.linear_{}.weight"
    assert [current_name(old.format(number)) for number in (1, 2)] == [
        f"encoder.layers.encoder_layer_11.mlp.{place}.weight" for place in (0, 3)
    ]
    assert current_name("features.0.weight") == "features.0.weight"


def test_every_file_of_torchvision_is_named_by_its_digest() -> None:
    for name in known_backbones():
        file = imagenet_files.imagenet_file(name)
        assert file is not None
        assert re.search(r"-[0-9a-f]{8,}$", file.path.stem), name


@pytest.mark.shared_data
def test_real_weights_load_and_belong_to_squeezenet1_0_only(shared_data: Path) -> None:
    resolved = resolve_weights("squeezenet1_0", "squeezenet1_0_imagenet.safetensors", shared_data / "weights")
    assert sum(parameter.numel() for parameter in load_network("squeezenet1_0", resolved).parameters()) == 1_248_424
    with pytest.raises(ModelError, match=r"weights for `squeezenet1_1` must hold `features\.0\.weight` with shape"):
        resolve_weights("squeezenet1_1", "squeezenet1_0_imagenet.safetensors", shared_data / "weights")
