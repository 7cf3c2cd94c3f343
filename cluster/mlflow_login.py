"""Makes MLflow's login ready, before its server starts: where its users are kept, and the administrator's password.

MLflow itself reads the password only while there is no such user. Here it is that of the environment at every start, so
that one place says it, whatever was rotated or restored.
"""

import os
from pathlib import Path


def write_settings(database: str) -> None:
    """MLflow reads the address of its users' database from a file only."""
    template = Path(__file__).with_name("mlflow_auth.ini").read_text()
    # "%" begins a reference in such a file, and a password that is part of an address may hold one.
    Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).write_text(template.replace("@DATABASE_URI@", database.replace("%", "%%")))


def set_password(database: str, name: str, password: str) -> None:
    """The administrator's, where there is one already."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # reads the settings as it is imported

    users = SqlAlchemyStore()
    users.init_db(database)  # type: ignore[no-untyped-call]  # MLflow does not annotate it
    if users.has_user(name) and not users.authenticate_user(name, password):
        users.update_user(name, password=password)
        print(f"MLflow's administrator {name!r} has a new password: that of MLFLOW_AUTH_ADMIN_PASSWORD.")


if __name__ == "__main__":
    write_settings(os.environ["MLFLOW_AUTH_DATABASE_URI"])
    set_password(
        os.environ["MLFLOW_AUTH_DATABASE_URI"],
        os.environ["MLFLOW_AUTH_ADMIN_USERNAME"],
        os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"],
    )
