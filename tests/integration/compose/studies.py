"""The definition that the deployment is tried with."""

from pathlib import Path

DEFINITION = """
name = "{name}"
question = "Which head and normalization sort clothing best?"

[data]
folder = "{photos}/clothing10"
image_size = 64

[trial]
backbone = "squeezenet1_0"
weights = "{photos}/weights/squeezenet1_0_imagenet.safetensors"
epochs = {epochs}
batch_size = 64
freeze_depth = {freeze_depth}
optimizer.lr = 1e-3

[space]
head = {{ choices = ["replace", "append"] }}
normalization = {{ choices = ["imagenet", "global"] }}
imbalance = {{ choices = ["none", "weighted_loss"] }}

[search]
sampler = "grid"
pruner = "none"

[resources]
cpus = 1
gpus = 0
"""


def write_definition(
    folder: Path, name: str, *, photos: Path = Path("/photos"), epochs: int = 3, freeze_depth: float = 1.0
) -> Path:
    """A grid of eight trials; `photos` as the driver sees them (in the containers: /photos)."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(DEFINITION.format(name=name, photos=photos, epochs=epochs, freeze_depth=freeze_depth))
    return file
