"""`[[claims]]` of a definition: what may be said, and what a mistake is told."""

from pathlib import Path

import pytest

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError

STUDY = """
name = "claimed"
data.generated = "instruments"
[space]
imbalance = { choices = ["none", "weighted_loss", "balanced_subset"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"""


def claimed(*lines: str) -> StudyDefinition:
    return parse_definition("\n".join([STUDY, "[[claims]]", *lines]), Path("/somewhere/claimed.toml"))


def test_a_claim_of_better_and_worse_speaks_of_both_levels() -> None:
    claim = claimed('text = "x"', 'factor = "imbalance"', 'better = "weighted_loss"', 'worse = "none"', "figure = 0.62").claims[
        0
    ]
    assert (claim.levels, claim.figure, claim.source) == (("weighted_loss", "none"), 0.62, "the paper")


def test_what_was_said_is_no_part_of_what_is_run() -> None:
    bare = parse_definition(STUDY, Path("/somewhere/claimed.toml"))
    assert claimed('text = "x"').digest == bare.digest


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['factor = "imbalance"', 'better = "none"'], "`better` and `worse` must come together"),
        (['better = "none"', 'worse = "weighted_loss"'], "levels need their `factor`"),
        (['factor = "imbalance"', 'alike = ["none"]'], "must name 2 levels or more"),
        (['factor = "imbalance"', 'alike = ["none", "weighted_loss"]', 'better = "none"', 'worse = "none"'], "Keep one"),
        (["figure_worse = 0.4"], "`figure_worse` needs `worse`"),
        (['factor = "imbalanc"'], "but is 'imbalanc'. Did you mean `imbalance`?"),
        (['factor = "imbalance"', 'better = "none"', 'worse = "wrong"'], "'imbalance' never is 'wrong'"),
        (['facto = "imbalance"'], "`claims.0.facto` in /somewhere/claimed.toml is no known key. Did you mean `factor`?"),
        (['altered = "greyscale"'], "'greyscale' is none of `confirm.altered_tests`. Add it there"),
        (['altered = "greyscale"', "figure = 0.4"], "`altered` is a claim of its own"),
        (["loses = false"], "`loses` needs `altered`"),
        (['against = "other"', "figure = 0.4"], "`against` is a claim of its own"),
        (["margin = 0.0"], "`claims.0.margin` must be greater than 0"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused_in_one_line(lines: list[str], message: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        claimed('text = "x"', *lines)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
