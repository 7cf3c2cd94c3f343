"""A search is tried before it begins: what its parts refuse is news now, and not an hour into the study."""

from optuna.storages import BaseStorage

from study.definition import StudyDefinition
from study.search.pruners import build_pruner, most_epochs
from study.search.samplers import rehearse_sampler
from study.search.warm_start import check_warm_start


def check_search(definition: StudyDefinition, storage: BaseStorage) -> None:
    """Lets sampler and pruner act once, and looks for the studies of `warm_start`; nothing is written.

    Raises:
        DefinitionError: for an unknown option, or one that the algorithm refuses.
        SearchError: for a study to start from that is not there.
    """
    rehearse_sampler(definition)
    build_pruner(definition.search.pruner, most_epochs(definition))
    check_warm_start(definition, storage)
