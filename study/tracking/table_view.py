"""A study's trials as a table of MLflow's pages: with what was searched, best first.

By themselves the pages show no param of a run until its column is chosen by hand. What they show and in which order is a
"view": kept as a tag of the experiment, named in their menu "Views", and opened by an address that names its key.

Source: what the pages write and read themselves (mlflow 3.17.2, server/js/build/static/js: `sharedViewState`,
`selectedColumns`); a test holds these words against the installed pages.
"""

import json
import time
from collections.abc import Sequence

from study.tracking.addresses import order_of

VIEW_TAG = "mlflow.sharedViewState."  # of an experiment; the view's key follows


def view_of(name: str, parent_run_id: str, objective: str, searched: Sequence[str]) -> str:
    """What is kept of the view, as text; of all keys that a recipe has it would be 2 kB, and a tag may have 5.

    Args:
        name: the study's.
        objective: what trials are ranked by, by its name in a measurement.
        searched: dotted keys.
    """
    order = order_of(parent_run_id, objective)
    columns = [order["orderByKey"], *(f"params.`{key}`" for key in searched)]
    state = {**order, "orderByAsc": order["orderByAsc"] == "true", "selectedColumns": columns}
    now_ms = time.time_ns() // 1_000_000
    return json.dumps({"name": f"{name}: trials", "createdAt": now_ms, "updatedAt": now_ms, "state": json.dumps(state)})
