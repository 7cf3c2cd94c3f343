"""MLflow's own pages in a browser, on the tracking store in use."""

import os
import subprocess
import sys
import webbrowser
from collections.abc import Callable

from study.errors import TrackingError
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.records import require_study


def serve_pages(tracker: MlflowTracker, name: str | None, port: int, announce: Callable[[str], None]) -> None:
    """Opens a study's page on the server in use, or serves the database's pages on this machine until Ctrl-C.

    Args:
        name: the study; None for the newest.
        announce: given the page's address, for who has no browser here.
    Raises:
        TrackingError: if there is no such study, or MLflow's server does not start.
    """
    run_id = require_study(name, tracker.studies()).run_id
    root = tracker.connection.pages if tracker.connection.is_server else f"http://127.0.0.1:{port}"
    address, table = f"{root}/{tracker.page(run_id)}", tracker.table(run_id)
    announce(address)
    if table is not None:
        announce(f"its trials as a table: {root}/{table}")
    if tracker.connection.is_server:
        webbrowser.open(address.replace(tracker.connection.shown, tracker.connection.uri, 1))  # with the password it holds
        return
    announce("Ctrl-C ends it")
    # One worker: with several, every request waits 43 ms for a delayed acknowledgement (uvicorn #3149).
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    try:
        subprocess.run([*command, "--backend-store-uri", tracker.connection.uri], check=True, env=_quiet_environment())
    except KeyboardInterrupt:
        return
    except subprocess.CalledProcessError:
        raise TrackingError(
            f"MLflow's pages must have a free port, but its server did not start on {port} (its reason stands above). "
            f"Try --port {port + 1}."
        ) from None


def _quiet_environment() -> dict[str, str]:
    """MLflow's server logs each request; a person who looks at pages wants its warnings only."""
    return {"MLFLOW_LOGGING_LEVEL": "WARNING", "UVICORN_LOG_LEVEL": "warning", **os.environ}
