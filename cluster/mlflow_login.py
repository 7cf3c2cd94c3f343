"""Makes MLflow's login ready, before its server starts: where its users are kept, and the administrator's password.

MLflow itself reads the password only while there is no such user. Here it is that of the environment at every start, so
that one place says it, whatever was rotated or restored.
"""

import os
from pathlib import Path

from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

database = os.environ["MLFLOW_AUTH_DATABASE_URI"]
template = Path(__file__).with_name("mlflow_auth.ini").read_text()
# "%" begins a reference in such a file, and a password that is part of an address may hold one.
Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).write_text(template.replace("@DATABASE_URI@", database.replace("%", "%%")))

store = SqlAlchemyStore()
store.init_db(database)  # type: ignore[no-untyped-call]
name, password = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
if store.has_user(name) and not store.authenticate_user(name, password):
    store.update_user(name, password=password)
    print(f"MLflow's administrator {name!r} has a new password: MLFLOW_AUTH_ADMIN_PASSWORD.")
