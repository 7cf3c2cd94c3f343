"""Optuna: who proposes trials and who stops them early."""

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress tells what Optuna would log a line a trial for
