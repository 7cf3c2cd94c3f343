"""Optuna: who proposes trials and who stops them early."""

import logging

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress tells what Optuna would log a line a trial for
# That a key is conditional is no news and no mistake (it is sampled by itself), nor is a slower way without greenlet.
for name in ("optuna.samplers._qmc", "optuna._gp.batched_lbfgsb"):
    logging.getLogger(name).setLevel(logging.ERROR)
