import hashlib
import pickle
import re
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from study.errors import ModelError
from study.models import weights as weights_module
from study.models.backbones import make_network
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
    monkeypatch.setattr(weights_module, "_imagenet_url", lambda name: f"https://127.0.0.1:9/models/{name}-00000000.pth")
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


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_that_was_cut_short_is_refused(ending: str, tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / f"cut.{ending}"
    if ending == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=rf"cut\.{ending} is damaged, cut short"):
        resolve_weights(BACKBONE, path.name, tmp_path)


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
    monkeypatch.setattr(weights_module, "PROBE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(weights_module, "_probe", lambda url: time.sleep(2))
    started_s = time.perf_counter()
    assert not weights_module._answers("https://hanging.example")
    assert time.perf_counter() - started_s < 1


def test_weights_in_torch_home_are_used_without_network(
    offline: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline.mkdir(parents=True)
    torch.save(tensors, offline / "saved")
    digest = hashlib.sha256((offline / "saved").read_bytes()).hexdigest()
    path = (offline / "saved").rename(offline / f"{BACKBONE}-{digest[:8]}.pth")
    monkeypatch.setattr(weights_module, "_imagenet_url", lambda name: f"https://127.0.0.1:9/models/{path.name}")
    for wanted in ("imagenet", "if_available"):
        assert resolve_weights(BACKBONE, wanted, Path()) == ResolvedWeights(path, digest[:16])


def test_weights_in_torch_home_with_another_digest_than_their_name_are_refused(
    offline: Path, tensors: dict[str, Tensor]
) -> None:
    offline.mkdir(parents=True)
    torch.save(tensors, offline / f"{BACKBONE}-00000000.pth")
    with pytest.raises(ModelError, match="must have a SHA-256 that begins with 00000000"):
        resolve_weights(BACKBONE, "if_available", Path())


@pytest.mark.shared_data
def test_real_weights_load_and_belong_to_squeezenet1_0_only(shared_data: Path) -> None:
    resolved = resolve_weights("squeezenet1_0", "squeezenet1_0_imagenet.safetensors", shared_data / "weights")
    assert sum(parameter.numel() for parameter in load_network("squeezenet1_0", resolved).parameters()) == 1_248_424
    with pytest.raises(ModelError, match=r"weights for `squeezenet1_1` must hold `features\.0\.weight` with shape"):
        resolve_weights("squeezenet1_1", "squeezenet1_0_imagenet.safetensors", shared_data / "weights")
