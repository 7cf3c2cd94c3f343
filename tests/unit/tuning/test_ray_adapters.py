"""What Ray holds on to between trials; Ray itself is not started."""

from ray.tune.experiment import Trial

from study.tuning.ray_adapters import REPORT, let_go


def test_of_a_trial_that_ended_ray_keeps_no_reports_and_no_running_means() -> None:
    trial = Trial("study", config={"number": 3}, stub=True)
    result = {REPORT: "measurements" * 100, "done": True, "time_total_s": 2.0, "training_iteration": 1}
    trial.update_last_result(result)  # type: ignore[no-untyped-call]
    assert trial.metric_n_steps
    let_go(trial)
    assert not trial.metric_n_steps
    assert not trial.metric_analysis
    assert REPORT not in trial.last_result
    assert trial.last_result["done"], "what Ray itself asks about stays"
    assert trial.config == {"number": 3}
