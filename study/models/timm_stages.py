"""timm's models cut into stages, by a rule that a run on one photo confirms.

timm registers a model's children in the order in which `forward_features` and `forward_head` call them. Most models are a
stem, one body (`blocks`, `stages`, `layers`, `features`, or layer1, layer2 …) and a head; `check` compares the pieces with the
whole, so that a model that computes otherwise is refused and never trained wrongly.
"""

import copy
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from study.models.backbone import Backbone, starting_with
from study.models.normalization import IMAGENET, Renormalize
from study.models.timm_models import MODEL_ERRORS, first_line, make, refused, scale_of

BODIES = ("blocks", "stages", "layers", "features")  # their children are stages: block1, stage1, layer1, feature1 …
BODY_CHILD = re.compile(r"(layer|stage|block|level|s)\d+")  # is a stage itself
HEADS = ("global_pool", "attn_pool", "pre_logits", "fc_norm", "head_drop", "head", "fc", "classifier", "last_linear")


class NetworkPart(nn.Module):
    """One method of a network, of which only some children are left.

    Attributes:
        network: a shallow copy: children and parameters are the original's.
    """

    def __init__(self, network: nn.Module, method: str, **options: bool) -> None:
        super().__init__()
        self.network = network
        self._method = method
        self._options = options

    def forward(self, activations: Tensor) -> Tensor:
        """What the method makes of them."""
        computed: Tensor = getattr(self.network, self._method)(activations, **self._options)
        return computed


def check(name: str, image_size: int) -> None:
    """Returns if the model can be cut, and its pieces compute what it computes on a photo of `image_size` pixels.

    Raises:
        ModelError: otherwise.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network: Any = make(name, image_size).eval()
        backbone = cut(name, network)
        photo = torch.rand(1, 3, image_size, image_size)
        try:
            scaled = Renormalize(scale_of(name))(photo)
            expected = [network.forward_head(network.forward_features(scaled), pre_logits=True).flatten(1), network(scaled)]
            features = photo
            for stage in backbone.stages.values():
                features = stage(features)
            found = [features, backbone.logits(features) if backbone.logits else features]
        except MODEL_ERRORS as error:
            raise refused(name, f"a photo of {image_size} px is not understood: {first_line(error)}") from error
    # To the last bit: they are the same operations, and a block that hardly matters yet (layer scale 1e-6) must not be missed.
    is_same = all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    if features.shape != (1, backbone.num_features) or not is_same:
        raise refused(name, "its stages, one after the other, compute something else than the whole")


def cut(name: str, network: Any) -> Backbone:
    """`network`, made by `make`, in pieces.

    Raises:
        ModelError: if it is no chain of stem, body and head.
    """
    stages = _stages_of(name, network)
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    logits, num_features, num_logits = _last_layer(name, network, classifier)
    last = next(reversed(stages))
    stages[last] = nn.Sequential(stages[last], _head_of(network, classifier), nn.Flatten())
    pieces = [list(stage.parameters()) for stage in (*stages.values(), *([logits] if logits else []))]
    if sorted(id(value) for piece in pieces for value in piece) != sorted(id(value) for value in network.parameters()):
        raise refused(name, "some of its parameters belong to no stage, or to several")
    backbone = Backbone(stages, nn.Identity(), logits, num_features, 0.0, num_logits)
    scale = scale_of(name)
    return backbone if scale == IMAGENET else starting_with(Renormalize(scale), backbone)


def _stages_of(name: str, network: nn.Module) -> dict[str, nn.Module]:
    """Everything in front of the head: stem, and the body's children; what follows the body belongs to its last child."""
    groups: dict[str, list[nn.Module]] = {"stem": []}
    layers = list(_layers_of(network))
    for stage, layer in layers:
        if stage:
            groups[stage] = [layer]
        else:
            groups[next(reversed(groups))].append(layer)
    if len(groups) == 1:
        raise refused(name, f"none of its children is called {', '.join(BODIES)} or layer1")
    if next(network.parameters(recurse=False), None) is not None:  # tokens or positions, added between stem and body
        groups["stem"] = [_stem_of(network)]
    if not groups["stem"]:
        del groups["stem"]
    return {stage: part[0] if len(part) == 1 else nn.Sequential(*part) for stage, part in groups.items()}


def _layers_of(network: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The layers in front of the head, each with the name of the stage that begins there, or ""."""
    for name, child in network.named_children():
        if name in HEADS:
            return
        if name in BODIES:
            for number, layer in enumerate(child.children(), start=1):
                has_parameters = next(layer.parameters(), None) is not None
                yield (f"{name.removesuffix('s')}{number}" if has_parameters else ""), layer
        else:
            yield (name if BODY_CHILD.fullmatch(name) else ""), child


def _stem_of(network: nn.Module) -> nn.Module:
    """`forward_features` with nothing behind the embedding of patches."""
    children: dict[str, nn.Module] = {}
    is_behind = False
    for name, child in network.named_children():
        if name in HEADS:
            break
        if name in BODIES:
            children[name], is_behind = nn.Sequential(), True
        else:
            children[name] = nn.Identity() if is_behind else child
    return NetworkPart(_with_children(network, children, is_owner=True), "forward_features")


def _head_of(network: nn.Module, classifier: object) -> nn.Module:
    """`forward_head` up to what the original last layer reads."""
    children = dict(network.named_children())
    first = next((place for place, name in enumerate(children) if name in HEADS), len(children))
    part = _with_children(network, dict(list(children.items())[first:]), is_owner=False)
    path = next((path for path, module in part.named_modules() if module is classifier), None)
    return NetworkPart(part if path is None else _without(part, path), "forward_head", pre_logits=True)


def _without(module: nn.Module, path: str) -> nn.Module:
    """A shallow copy of `module` in which the layer at `path` does nothing."""
    name, _, rest = path.partition(".")
    children = dict(module.named_children())
    replaced = _without(children[name], rest) if rest else nn.Identity()
    return _with_children(module, children | {name: replaced}, is_owner=True)


def _with_children(module: nn.Module, children: dict[str, nn.Module], *, is_owner: bool) -> nn.Module:
    """A shallow copy with these children, and with the parameters and buffers of its own only if `is_owner`."""
    part = copy.copy(module)
    part.__dict__["_modules"] = children
    for own in ("_parameters", "_buffers"):
        part.__dict__[own] = dict(module.__dict__[own]) if is_owner else {}
    return part


def _last_layer(name: str, network: Any, classifier: object) -> tuple[nn.Module | None, int, int]:
    """The original last layer, how many features it reads and classes it tells apart."""
    match classifier:
        case nn.Linear():
            return classifier, classifier.in_features, classifier.out_features
        case nn.Conv2d():
            width = classifier.in_channels
            layers = nn.Sequential(nn.Unflatten(1, (width, 1, 1)), classifier, nn.Flatten())
            return layers, width, classifier.out_channels
        case nn.Identity():  # trained without classes: DINOv2, SigLIP
            return None, int(network.head_hidden_size), 0
        case _:
            raise refused(name, f"its classifier is {type(classifier).__name__} and no linear layer")
