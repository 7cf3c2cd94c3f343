"""What was tried and how: the plan, and everything that it takes to do it again."""

from collections.abc import Mapping

from study.analysis.evidence import StudyEvidence
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, Facts, Listing, Part, Section, Table
from study.analysis.report.words import cost_name, counted, shown
from study.definition import StudyDefinition
from study.space import Choices, Distribution

TAG_NAMES = {
    "study.definition_digest": "definition's digest",
    "study.data_digest": "data's digest",
    "mlflow.source.git.commit": "git commit",
    "study.version": "study",
    "study.python": "Python",
    "study.torch": "torch",
    "study.torchvision": "torchvision",
    "study.ray": "Ray",
    "study.optuna": "Optuna",
    "study.mlflow": "MLflow",
    "study.hardware": "machine",
}
DIGEST_TAGS = ("study.definition_digest", "study.data_digest")


def plan_section(material: Material) -> Section:
    """Space, sampler, pruner and epochs of each study."""
    parts: list[Part] = []
    for one in material.evidence:
        whose = f" of {one.name}" if material.has_several_studies else ""
        parts += [_facts(one.definition, whose), _space(one.definition, whose), _fixed(one.definition, whose)]
    return Section("plan", "The plan", [], parts)


def reproduction_section(material: Material) -> Section:
    """Definition, commands, versions and digests of each study."""
    parts: list[Part] = []
    for one in material.evidence:
        whose = f" of {one.name}" if material.has_several_studies else ""
        parts += [
            Listing(f"Commands{whose}", _commands(one)),
            Facts(f"The same result needs the same{whose}", _provenance(one)),
            Listing(f"Definition{whose}: {one.definition.file.name}", one.definition.text, is_folded=True),
        ]
    return Section("reproduce", "How to do it again", [], parts)


def _facts(definition: StudyDefinition, whose: str) -> Facts:
    search, objective = definition.search, definition.objective
    direction = "maximized" if objective.is_maximized else "minimized"
    epochs = "" if "epochs" in definition.space.parameters else f", of {definition.trial.epochs} epochs each at most"
    rows = [
        ("objective", f"{objective.metric.replace('_', ' ')} on the validation split, {direction}"),
        ("trials", f"{definition.num_trials:,}{epochs}"),
        ("sampler", _algorithm(search.sampler.name, search.sampler.options)),
        ("pruner", _algorithm(search.pruner.name, search.pruner.options)),
    ]
    if objective.cost:
        rows.insert(1, ("second objective", f"{cost_name(objective.cost)}, minimized"))
    if objective.constraints:
        rows.append(("constraints", "; ".join(objective.constraints)))
    if search.enqueue:
        rows.append(("tried first", counted(len(search.enqueue), "recipe")))
    if (screening := search.screening) is not None:
        rows.append(("heads first", f"{screening.heads} trials; then {screening.promote} of their recipes less frozen"))
    if definition.confirm is not None:
        rows.append(("confirmed", f"the best {definition.confirm.top}, with {definition.confirm.seeds} fresh seeds each"))
    return Facts(f"Search{whose}", rows)


def _algorithm(name: str, options: Mapping[str, object]) -> str:
    told = ", ".join(f"{key} {shown(value)}" for key, value in options.items())
    return f"{name} ({told})" if told else name


def _space(definition: StudyDefinition, whose: str) -> Table:
    rows = [(key, _values(found), _condition(found)) for key, found in definition.space.items()]
    return Table(f"Searched{whose}", (Column("factor"), Column("values"), Column("only when")), rows)


def _values(found: Distribution) -> str:
    if isinstance(found, Choices):
        return " | ".join(map(shown, found.choices))
    scale = ", logarithmic" if found.log else f", in steps of {shown(found.step)}" if found.step else ""
    return f"{shown(found.low)} to {shown(found.high)}{scale}"


def _condition(found: Distribution) -> str:
    return " and ".join(f"{key} is {' or '.join(map(str, values))}" for key, values in found.when.items()) or "–"


def _fixed(definition: StudyDefinition, whose: str) -> Table:
    searched = definition.space.parameters
    rows = [(key, shown(value)) for key, value in definition.fixed_values.items() if key not in searched and value is not None]
    return Table(f"The same in all trials{whose}", (Column("factor"), Column("value")), rows, shown=0)


def _commands(one: StudyEvidence) -> str:
    return f"study check {one.definition.file.name}\nstudy run {one.definition.file.name}\nstudy compare {one.name}\n"


def _provenance(one: StudyEvidence) -> list[tuple[str, str]]:
    known = {"study.definition_digest": one.definition.digest, "study.data_digest": one.data_digest} | dict(one.tags)
    told = [(name, known[tag]) for tag, name in TAG_NAMES.items() if known.get(tag)]
    if "mlflow.source.git.commit" not in known:
        told.append(("git commit", "none: the definition lay in no repository"))
    return [*told, ("MLflow run", one.run_id)]
