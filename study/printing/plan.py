"""What a study would do: the result of `study check`."""

from rich.table import Table
from rich.text import Text

from study.data.study_data import summarize
from study.models.weights import ResolvedWeights
from study.printing.console import Result, make_console
from study.search_definition import ScreeningDefinition
from study.tuning.preparation import PreparedStudy

MIB = 2**20


def plan_of(prepared: PreparedStudy) -> Result:
    """What a study would do."""
    definition, data = prepared.definition, prepared.data
    return {
        "study": definition.name,
        "question": definition.question,
        "trials": definition.num_trials,
        "epochs": definition.trial.epochs,
        "sampler": definition.search.sampler.name,
        "pruner": definition.search.pruner.name,
        "screening": _heads_first(definition.search.screening),
        "objective": definition.objective.key,
        "searched": {key: distribution.model_dump(exclude_defaults=True) for key, distribution in definition.space.items()},
        "photos": summarize(data),
        "packed_mib": round(data.images.nbytes / MIB, 1),
        "weights": {
            f"{backbone} {written}": _weights_in_words(found) for (backbone, written), found in prepared.weights.items()
        },
        "tracking_uri": prepared.settings.tracking_uri,
        "storage": prepared.settings.storage,
        "cache": str(prepared.settings.cache_folder),
    }


def print_plan(plan: Result) -> None:
    """The plan as a person reads it."""
    console = make_console()
    console.print(Text.assemble((plan["study"], "bold"), " ", plan["question"]))
    console.print(
        f"{plan['trials']} trials of up to {plan['epochs']} epochs, proposed by {plan['sampler']}, pruned by {plan['pruner']}, "
        f"judged by {plan['objective']}"
    )
    if (screening := plan["screening"]) is not None:
        console.print(
            f"heads first: {screening['heads']} trials at the deepest freeze depth, {screening['promote']} of their recipes "
            f"then at the others, {screening['by_lot']} of these by lot"
        )
    table = Table(box=None, pad_edge=False)
    splits = plan["photos"]["splits"]
    for column in ("class", *splits):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, counts in plan["photos"]["classes"].items():
        table.add_row(name, *(str(counts[split]) for split in splits))
    table.add_row("all", *map(str, splits.values()), style="bold")  # alone where the target is a number
    console.print(table)
    for key, distribution in plan["searched"].items():
        console.print(f"  {key}: {_in_words(distribution)}", markup=False)
    for name, found in plan["weights"].items():
        console.print(f"weights {name}: {found}", markup=False)
    console.print(f"packed photos: {plan['packed_mib']} MiB in {plan['cache']}", markup=False)
    console.print(f"MLflow: {plan['tracking_uri']} · Optuna: {plan['storage']}", markup=False)


def _heads_first(asked: ScreeningDefinition | None) -> Result | None:
    return None if asked is None else asked.model_dump() | {"by_lot": asked.num_by_lot}


def _in_words(distribution: Result) -> str:
    """ "adam, sgd", or "0.001 to 0.1 (log)", and the condition if there is one."""
    if "choices" in distribution:
        words = ", ".join(map(str, distribution["choices"]))
    else:
        kind = " (log)" if distribution.get("log") else f" (step {distribution['step']})" if "step" in distribution else ""
        words = f"{distribution['low']} to {distribution['high']}{kind}"
    conditions = [f"{key} is {' or '.join(map(str, values))}" for key, values in distribution.get("when", {}).items()]
    return f"{words}, when {' and '.join(conditions)}" if conditions else words


def _weights_in_words(weights: ResolvedWeights) -> str:
    return weights.note or (f"{weights.path} ({weights.digest})" if weights.path else "random, as asked")
