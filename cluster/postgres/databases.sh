#!/bin/sh
# Runs once, when PostgreSQL makes its first files: a database and a user each for MLflow and for Optuna.
# Neither can read the other's, and none of them is the superuser.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set mlflow="$MLFLOW_DATABASE_PASSWORD" --set study="$STUDY_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE study LOGIN PASSWORD :'study';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
CREATE DATABASE study OWNER study;
REVOKE ALL ON DATABASE mlflow, mlflow_auth, study FROM PUBLIC;
SQL
