import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau, StepLR

from study.training.schedules import Schedule, make_schedule
from study.trial import ScheduleConfig

STEPS_PER_EPOCH = 4
VAL_LOSSES = (1.0, 0.9, 0.9, 0.95, 0.91, 0.8, 0.85, 0.84, 0.83, 0.82)


def optimizer_of(lr: float = 0.1) -> Optimizer:
    head, backbone = nn.Linear(2, 2), nn.Linear(2, 2)
    return SGD([{"params": head.parameters(), "lr": lr}, {"params": backbone.parameters(), "lr": lr / 10}])


def train(optimizer: Optimizer, after_step: Callable[[], Any], after_epoch: Callable[[float], Any]) -> list[float]:
    """The head's learning rate at each step."""
    rates = []
    for val_loss in VAL_LOSSES:
        for _ in range(STEPS_PER_EPOCH):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            after_step()
        after_epoch(val_loss)
    return rates


def rates_of(config: ScheduleConfig) -> list[float]:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, config, len(VAL_LOSSES), STEPS_PER_EPOCH)
    return train(optimizer, schedule.step, schedule.end_epoch)


def nothing(*_: Any) -> None:
    return None


def test_a_cosine_is_torchs_over_the_steps() -> None:
    optimizer = optimizer_of()
    torchs = CosineAnnealingLR(optimizer, T_max=len(VAL_LOSSES) * STEPS_PER_EPOCH)
    assert rates_of(ScheduleConfig(name="cosine")) == pytest.approx(train(optimizer, torchs.step, nothing), abs=1e-9)


def test_steps_are_torchs_over_the_epochs() -> None:
    optimizer = optimizer_of()
    torchs = StepLR(optimizer, step_size=3, gamma=0.5)
    found = rates_of(ScheduleConfig(name="step", step_epochs=3, factor=0.5))
    assert found == pytest.approx(train(optimizer, nothing, lambda _: torchs.step()))


def test_a_plateau_is_torchs_which_waits_for_one_epoch_more_than_its_patience() -> None:
    optimizer = optimizer_of()
    torchs = ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0.0)
    found = rates_of(ScheduleConfig(name="plateau", patience=3, factor=0.5))
    assert found == pytest.approx(train(optimizer, nothing, torchs.step))
    assert found[-1] == 0.025


def test_a_warm_up_rises_step_by_step_to_the_full_rate() -> None:
    optimizer = optimizer_of()
    torchs = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (2 * STEPS_PER_EPOCH)))
    found = rates_of(ScheduleConfig(warmup_epochs=2))
    assert found == pytest.approx(train(optimizer, torchs.step, nothing))
    assert (found[0], found[2 * STEPS_PER_EPOCH - 1]) == (0.1 / 8, 0.1)


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_what_follows_a_warm_up_begins_at_its_end(name: str) -> None:
    config = ScheduleConfig.model_validate({"name": name, "warmup_epochs": 2, "step_epochs": 3})
    shorter = optimizer_of()
    schedule = make_schedule(shorter, config.model_copy(update={"warmup_epochs": 0}), len(VAL_LOSSES) - 2, STEPS_PER_EPOCH)
    expected = train(shorter, schedule.step, schedule.end_epoch)[: -2 * STEPS_PER_EPOCH]
    assert rates_of(config)[2 * STEPS_PER_EPOCH :] == pytest.approx(expected)


def test_the_epochs_of_a_warm_up_are_no_plateau() -> None:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, ScheduleConfig(name="plateau", warmup_epochs=3, patience=1), 9, 1)
    rates = []
    for val_loss in (1.0, 2.0, 2.0, 0.9, 2.0, 2.0):
        schedule.step()
        schedule.end_epoch(val_loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2 / 3, 0.1, 0.1, 0.1, 0.01, 0.001])


def test_every_group_keeps_its_share_of_the_heads_rate() -> None:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, ScheduleConfig(name="cosine", warmup_epochs=1), 3, 2)
    for _ in range(5):
        head, backbone = (group["lr"] for group in optimizer.param_groups)
        assert backbone == pytest.approx(head / 10)
        optimizer.step()
        schedule.step()


def test_the_current_rate_is_the_last_steps_and_not_the_next() -> None:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, ScheduleConfig(name="step", step_epochs=1), 3, 1)
    seen = [schedule.current_lr]
    for _ in range(3):
        schedule.step()
        schedule.end_epoch(1.0)
        seen.append(schedule.current_lr)
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_single_step_is_taken_at_the_full_rate_and_a_cosine_ends_at_0() -> None:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, ScheduleConfig(name="cosine"), 1, 1)
    assert optimizer.param_groups[0]["lr"] == 0.1
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "plateau"])
@pytest.mark.parametrize("epoch", [1, 4, 9])
def test_a_resumed_schedule_goes_on_bit_for_bit_from_json(name: str, epoch: int) -> None:
    config = ScheduleConfig.model_validate({"name": name, "warmup_epochs": 2, "step_epochs": 2, "patience": 1})

    def go_on(optimizer: Optimizer, schedule: Schedule, losses: tuple[float, ...]) -> list[tuple[float, float]]:
        rates = []
        for val_loss in losses:
            for _ in range(STEPS_PER_EPOCH):
                optimizer.step()
                schedule.step()
                rates.append((optimizer.param_groups[1]["lr"], schedule.current_lr))
            schedule.end_epoch(val_loss)
        return rates

    def start() -> tuple[Optimizer, Schedule]:
        return (optimizer := optimizer_of()), make_schedule(optimizer, config, len(VAL_LOSSES), STEPS_PER_EPOCH)

    whole = go_on(*start(), VAL_LOSSES)
    optimizer, schedule = start()
    first = go_on(optimizer, schedule, VAL_LOSSES[:epoch])
    saved, state = optimizer.state_dict(), json.dumps(schedule.state_dict())
    again, resumed = start()
    again.load_state_dict(saved)
    resumed.load_state_dict(json.loads(state))
    assert first + go_on(again, resumed, VAL_LOSSES[epoch:]) == whole


def test_a_schedule_made_after_the_optimizers_state_was_loaded_has_the_same_full_rate() -> None:
    optimizer = optimizer_of()
    schedule = make_schedule(optimizer, ScheduleConfig(name="cosine"), 2, 2)
    schedule.step()
    again = optimizer_of(lr=torch.nan)
    again.load_state_dict(optimizer.state_dict())
    resumed = make_schedule(again, ScheduleConfig(name="cosine"), 2, 2)
    resumed.load_state_dict(schedule.state_dict())
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
