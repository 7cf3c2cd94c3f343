"""What a model costs whoever uses it: parameters, arithmetic, time for one example."""

import time
from collections.abc import Collection

import torch

from study.models.classifier import Classifier
from study.training.activation_plan import costs_of
from study.training.precision import Arithmetic

NUM_TIMED = 20  # single examples: their median leaves out those that another process held up


def model_costs(model: Classifier, image_size: int, arithmetic: Arithmetic, quantities: Collection[str]) -> dict[str, float]:
    """The quantities asked for, of `parameters_m` (millions), `flops_g` (10⁹ multiplications and additions an example) and
    `latency_ms` (median for one example at a time, on the training's device, in its precision)."""
    found: dict[str, float] = {}
    if "parameters_m" in quantities:
        found["parameters_m"] = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    if "flops_g" in quantities:
        costs = costs_of(model, image_size)
        found["flops_g"] = (costs.prefix_flops + costs.suffix_flops) * model.num_views / 1e9
    if "latency_ms" in quantities:
        found["latency_ms"] = _latency_ms(model, image_size, arithmetic)
    return found


def _latency_ms(model: Classifier, image_size: int, arithmetic: Arithmetic) -> float:
    was_training = model.training
    model.eval()
    device = arithmetic.device
    photos = torch.zeros(model.num_views, 3, image_size, image_size, device=device).to(memory_format=torch.channels_last)
    taken_s = []
    with torch.no_grad(), arithmetic.autocast():
        model(photos)
        for _ in range(NUM_TIMED):
            started_s = time.perf_counter()
            model(photos)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken_s.append(time.perf_counter() - started_s)
    model.train(was_training)
    return 1e3 * sorted(taken_s)[NUM_TIMED // 2]
