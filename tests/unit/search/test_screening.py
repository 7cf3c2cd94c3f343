"""Heads first: which recipes are tried at which freeze depth, whatever order trials end in, and after a restart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError
from study.freeze_depths import depths_of
from study.search.advisor import Advisor
from study.search.outcomes import Outcome, Proposal
from study.search.screening import Screening
from study.trial import TrialConfig, TrialState

SPACE = """
freeze_depth = { choices = [0.0, 1.0, 0.5] }
"optimizer.lr" = { low = 1e-5, high = 1e-1, log = true }
"optimizer.backbone_lr_ratio" = { low = 1e-3, high = 1.0, log = true, when = { freeze_depth = [0.0, 0.5] } }
head = { choices = ["replace", "append"] }
"""
HEADS, PROMOTED, DEPTHS = 6, 2, 3


def definition(
    screening: str = f"heads = {HEADS}\npromote = {PROMOTED}\nexplore = 0.0",
    search: str = "trials = 20\nbaseline = false",
    space: str = SPACE,
    top: str = "",
) -> StudyDefinition:
    text = f'name = "first"\ndata.generated = "instruments"\n{top}\n[space]\n{space}\n[search]\n{search}\n'
    return parse_definition(f"{text}[search.screening]\n{screening}\n", Path("/somewhere/first.toml"))


def advisor(asked: StudyDefinition) -> Advisor:
    return Advisor.create(asked, InMemoryStorage(), {})


def tell(running: Advisor, proposal: Proposal, value: float | None) -> None:
    running.tell(proposal.number, TrialState.FAIL if value is None else TrialState.COMPLETE, value)


def ask(running: Advisor) -> Proposal:
    proposal = running.ask()
    assert proposal is not None
    return proposal


def shared(searched: Mapping[str, Any]) -> dict[str, Any]:
    """What a head's recipe has at every depth."""
    return {key: value for key, value in searched.items() if key not in ("freeze_depth", "optimizer.backbone_lr_ratio")}


def screened(running: Advisor, values: list[float | None]) -> list[Proposal]:
    heads = [ask(running) for _ in values]
    for head, value in zip(heads, values, strict=True):
        tell(running, head, value)
    return heads


def test_heads_are_tried_first_and_the_best_then_at_the_other_depths_the_deepest_first() -> None:
    running = advisor(definition())
    heads = screened(running, [0.1, 0.6, 0.2, 0.5, 0.3, 0.4])
    assert {head.searched["freeze_depth"] for head in heads} == {1.0}
    promoted = [ask(running) for _ in range(PROMOTED * (DEPTHS - 1))]
    assert [one.searched["freeze_depth"] for one in promoted] == [0.5, 0.0, 0.5, 0.0]
    assert [shared(one.searched) for one in promoted] == [shared(heads[place].searched) for place in (1, 1, 3, 3)]
    assert all("optimizer.backbone_lr_ratio" in one.searched for one in promoted), "the sampler fills in what heads have not"
    after = [shared(ask(running).searched) for _ in range(5)]
    assert not [one for one in after if one in [shared(head.searched) for head in heads]], "then the sampler is asked"


def test_the_lowest_loss_is_promoted() -> None:
    running = advisor(definition(top='objective.metric = "loss"'))
    heads = screened(running, [0.1, 0.6, 0.2, 0.5, 0.3, 0.4])
    assert shared(ask(running).searched) == shared(heads[0].searched)


def test_points_to_try_first_come_before_the_heads() -> None:
    point = "[[search.enqueue]]\nfreeze_depth = 0.0\nhead = 'append'\n"
    running = advisor(definition(search=f"trials = 20\n{point}"))
    asked = [ask(running).searched for _ in range(2 + HEADS)]
    assert [one["freeze_depth"] for one in asked] == [0.0] + [1.0] * (1 + HEADS)
    assert (asked[1]["optimizer.lr"], asked[1]["head"]) == (1e-3, "replace"), "the baseline"


def test_heads_that_failed_or_still_run_are_not_promoted_and_nobody_waits() -> None:
    running = advisor(definition())
    heads = [ask(running) for _ in range(HEADS)]
    before = ask(running)  # no head has ended
    assert shared(before.searched) not in [shared(head.searched) for head in heads]
    tell(running, heads[0], None)
    tell(running, heads[4], 0.2)
    assert shared(ask(running).searched) == shared(heads[4].searched)
    tell(running, heads[1], 0.9)
    assert shared(ask(running).searched) == shared(heads[4].searched), "its last depth"
    assert shared(ask(running).searched) == shared(heads[1].searched)


def test_a_share_of_the_promoted_is_drawn_by_lot() -> None:
    picked = set()
    for seed in range(20):
        asked = definition("heads = 6\npromote = 2\nexplore = 0.5", search=f"trials = 20\nseed = {seed}\nbaseline = false")
        running = advisor(asked)
        heads = screened(running, [0.1, 0.6, 0.2, 0.5, 0.3, 0.4])
        numbers = [
            next(head.number for head in heads if shared(head.searched) == shared(one.searched))
            for one in (ask(running) for _ in range(4))
        ]
        assert numbers[:2] == [1, 1], "the first is the best"
        picked.add(numbers[2])
    assert len(picked) > 2, "the second is any other"


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(0.1, 0.9)), min_size=HEADS, max_size=HEADS),
    killed_after=st.integers(0, HEADS + PROMOTED * (DEPTHS - 1)),
)
def test_a_driver_that_takes_the_study_up_promotes_what_the_first_would_have(
    values: list[float | None], killed_after: int
) -> None:
    def promoted(is_killed: bool) -> list[tuple[Any, ...]]:
        storage, asked = InMemoryStorage(), definition()
        running = Advisor.create(asked, storage, {})
        seen = []
        for number in range(HEADS + PROMOTED * (DEPTHS - 1)):
            if is_killed and number == killed_after:
                running = Advisor.resume(asked, storage)
            proposal = ask(running)
            tell(running, proposal, values[number] if number < HEADS else 0.5)
            if number < HEADS:
                heads[number] = shared(proposal.searched)
            else:
                head = next((place for place, one in heads.items() if one == shared(proposal.searched)), None)
                seen.append((head, proposal.searched["freeze_depth"] if head is not None else None))
        return seen

    heads: dict[int, dict[str, Any]] = {}
    undisturbed = promoted(is_killed=False)
    heads.clear()
    assert promoted(is_killed=True) == undisturbed


def test_each_promoted_recipe_is_tried_once_however_many_trials_follow() -> None:
    asked = definition(
        search="trials = 60\nbaseline = false",
        space='freeze_depth = { choices = [1.0, 0.0] }\nhead = { choices = ["replace", "append"] }',
    )
    running = advisor(asked)
    for _ in range(60):
        proposal = ask(running)
        tell(running, proposal, 0.5)
    assert running.ask() is None


def test_a_definition_without_it_keeps_its_digest() -> None:
    text = 'name = "first"\ndata.generated = "instruments"\n[space]\nhead = { choices = ["replace", "append"] }\n'
    plain = parse_definition(text, Path("/somewhere/first.toml"))
    assert "screening" not in plain.search.model_dump()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"space": 'head = { choices = ["replace", "append"] }'}, "Add `freeze_depth = { choices = [1.0, 0.5, 0.0] }`"),
        ({"space": "freeze_depth = { choices = [1.0] }"}, "has no two values of it"),
        ({"search": 'trials = 20\nsampler = "random"'}, "is 'random', whose trials are a fair sample"),
        ({"top": 'objective.cost = "latency_ms"'}, "there is `objective.cost`"),
        ({"screening": "heads = 4\npromote = 5"}, "`promote` must be at most `heads`, 4, but is 5"),
        (
            {"screening": "", "search": "trials = 20\nwarm_start = ['earlier']"},
            "first, 4, 16 heads, 4 recipes at 2 other depths and one that the sampler chooses, 29, but `search.trials` is 20. "
            "Raise it to 29 or more",
        ),
        ({"space": f"{SPACE}\nseed = {{ choices = [1, 2] }}"}, "so `seed` must not be searched beside them"),
        (
            {
                "space": 'backbone = { choices = ["alexnet", "vgg16"] }\n'
                'freeze_depth = { choices = [0.0, 1.0], when = { backbone = ["vgg16"] } }'
            },
            "`freeze_depth` must be searched in every trial",
        ),
        ({"screening": "heads = 1"}, "`search.screening.heads` must be greater than or equal to 2"),
        ({"screening": "head = 4"}, "Did you mean `heads`?"),
    ],
)
def test_what_cannot_be_screened_is_refused_with_the_way_out(given: dict[str, str], told: str) -> None:
    with pytest.raises(DefinitionError) as error:
        definition(**given)
    assert told in str(error.value)


def test_of_a_range_in_steps_both_ends_and_the_middle_are_compared() -> None:
    space = SPACE.replace("{ choices = [0.0, 1.0, 0.5] }", "{ low = 0.0, high = 1.0, step = 0.1 }")
    space = space.replace(", when = { freeze_depth = [0.0, 0.5] }", "")
    assert depths_of(definition(space=space).space.parameters["freeze_depth"]) == pytest.approx([1.0, 0.5, 0.0])


def test_a_driver_that_takes_the_study_up_late_takes_the_samplers_trials_for_no_promotions() -> None:
    space = 'freeze_depth = { choices = [1.0, 0.5, 0.0] }\nhead = { choices = ["replace", "append"] }\n'
    space += 'imbalance = { choices = ["none", "weighted_loss", "balanced_subset"] }'
    asked = definition("heads = 6\npromote = 1\nexplore = 0.0", "trials = 40\nbaseline = false", space)
    recipes = [
        {"head": head, "imbalance": imbalance}
        for head in ("replace", "append")
        for imbalance in ("none", "weighted_loss", "balanced_subset")
    ]
    undisturbed, again = Screening((), asked), Screening((), asked)
    begun = []
    for number in range(20):
        # What the sampler proposes is a head's recipe at one other depth.
        searched = {"freeze_depth": 0.5, **recipes[number % 6], **(undisturbed.next_point(number) or {})}
        begun.append(Outcome(number, TrialState.COMPLETE, TrialConfig(), searched, number / 100, num_epochs=1, run_id=None))
        undisturbed.begin(searched)
        undisturbed.add(begun[-1])
    assert [one.searched["freeze_depth"] for one in begun[:8]] == [1.0] * 6 + [0.5, 0.0]
    for outcome in begun:
        again.begin(outcome.searched)
    for outcome in begun:
        again.add(outcome)
    assert undisturbed.next_point(20) is None
    assert again.next_point(20) is None
