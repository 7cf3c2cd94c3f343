"""MLflow's own pages in a browser, on the tracking store in use."""

import subprocess
import sys
import webbrowser
from collections.abc import Callable

from study.errors import TrackingError


def serve_pages(tracking_uri: str, port: int, announce: Callable[[str], None]) -> None:
    """Opens a server's pages, or serves a database's pages on this machine until Ctrl-C.

    Args:
        announce: given the address, for who has no browser here.
    Raises:
        TrackingError: if MLflow's server does not start.
    """
    if tracking_uri.startswith(("http://", "https://")):
        announce(tracking_uri)
        webbrowser.open(tracking_uri)
        return
    announce(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    # One worker: with several, every request waits 43 ms for a delayed acknowledgement (uvicorn #3149).
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    try:
        subprocess.run([*command, "--backend-store-uri", tracking_uri], check=True)
    except KeyboardInterrupt:
        return
    except subprocess.CalledProcessError:
        raise TrackingError(
            f"MLflow's pages must have a free port, but its server did not start on {port} (its reason stands above). "
            f"Try --port {port + 1}."
        ) from None
