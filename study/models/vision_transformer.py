"""Stages of torchvision's ViT: what its `forward` computes between modules is a module here."""

from typing import Any

import torch
from torch import Tensor, nn

from study.models.backbone import Backbone, joined


class TokenEmbedding(nn.Module):
    """Photos [n, 3, height, width] → tokens [n, 1 + num_patches, width]: the class token, then the patches, each with its
    place. Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", eq. 1."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.patches = network.conv_proj
        self.class_token = network.class_token
        self.positions = network.encoder.pos_embedding
        self.dropout = network.encoder.dropout

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        embedded: Tensor = self.dropout(tokens + self.positions)
        return embedded


class ClassToken(nn.Module):
    """Tokens [n, num_tokens, width] → the class token [n, width]."""

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        return tokens[:, 0]


def cut_vision_transformer(network: Any) -> Backbone:
    """Stages embedding (patches, class token, positions), block1 …; the last block ends with the norm and the class token."""
    stages: dict[str, nn.Module] = {"embedding": TokenEmbedding(network)}
    stages |= {f"block{number}": block for number, block in enumerate(network.encoder.layers, start=1)}
    last = next(reversed(stages))
    stages[last] = nn.Sequential(stages[last], network.encoder.ln, ClassToken())
    return joined(stages, network.heads.head)
