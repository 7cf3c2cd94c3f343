"""What is recorded, and where: the only room that imports MLflow.

Some of MLflow's habits are switched off here, before its first import, unless the environment says otherwise: usage reports to
its makers (a user of this platform has agreed to none), and progress bars and run addresses amid a command's output.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it also costs a request for each run that ends

# MLflow repeats a failed request 7 times, for some 4 minutes in which nobody learns of it, and repeats a creation too, which
# makes two runs where only the reply was lost. Here waiting is ours (patience.py, outbox.py): 2 is a blink of 5 s.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
