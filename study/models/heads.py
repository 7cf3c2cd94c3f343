"""Heads: what a trial puts on its backbone, for classes or a number, for one photo or several views of one thing."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from study.errors import ModelError
from study.models.backbone import Backbone
from study.trial import Head


@dataclass(frozen=True)
class HeadPlan:
    """What a head is to be.

    Attributes:
        kind: "replace": a linear layer instead of the original last layers, behind the same dropout; "append": a linear layer
            after them, which makes them the backbone's last stage.
        num_outputs: the number of classes; 1 for a number.
        num_views: photos of an example, whose features are joined.
        dropout: in front of the new layer; None: the backbone's own where its last layers are replaced, else none.
    """

    kind: Head
    num_outputs: int
    num_views: int = 1
    dropout: float | None = None


class JoinViews(nn.Module):
    """Features [n * num_views, width], the views of an example next to each other → [n, num_views * width]."""

    def __init__(self, num_views: int) -> None:
        super().__init__()
        self.num_views = num_views

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return features.reshape(len(features) // self.num_views, -1)


def stages_under(backbone: Backbone, kind: Head) -> dict[str, nn.Module]:
    """The backbone's stages, of which the last ends in what the head reads, [num_images, width].

    Raises:
        ModelError: if original last layers are to be kept that the backbone does not have.
    """
    stages = dict(backbone.stages)
    if kind == "append":
        if backbone.logits is None:
            raise ModelError('head = "append" keeps the layer of classes, but this backbone has none. Use head = "replace".')
        stages["logits"] = backbone.logits
    elif not isinstance(backbone.pool, nn.Identity):
        last = next(reversed(stages))
        stages[last] = nn.Sequential(stages[last], backbone.pool)
    return stages


def make_head(backbone: Backbone, plan: HeadPlan) -> nn.Module:
    """A new head on `stages_under(backbone, plan.kind)`, drawn as torch draws a linear layer, from its global generator."""
    is_appended = plan.kind == "append"
    width = backbone.num_logits if is_appended else backbone.num_features
    own_dropout = 0.0 if is_appended else backbone.dropout
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        dropout=nn.Dropout(own_dropout if plan.dropout is None else plan.dropout),
        linear=nn.Linear(plan.num_views * width, plan.num_outputs),
    )
    if plan.num_views > 1:
        layers["views"] = JoinViews(plan.num_views)
        layers.move_to_end("views", last=False)
    return nn.Sequential(layers)
