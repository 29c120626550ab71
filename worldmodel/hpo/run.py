"""`python -m worldmodel.hpo`: one sampler on one small objective, in a run folder like that of any run."""

import time

from worldmodel.compare.tasks.objectives import POINT, objective
from worldmodel.compare.tasks.recorded import recorded
from worldmodel.envs import Episode
from worldmodel.hpo.config import HpoConfig
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.runs.evaluation import write_evaluation
from worldmodel.runs.yaml import to_yaml
from worldmodel.search.samplers import say_uncounted

BEST = "best.yaml"
COSTS = ("shots", "circuits", "evaluations", "queries")  # of a proposal, that are summed


def run(config: HpoConfig) -> int:
    """Make the trials; returns the exit code. Return is minus the least loss so far. A run that was stopped begins
    anew."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with recorded(config.as_dict(), f"hpo-{config.task}-{config.sampler.name}-{config.seed}") as (folder, writer):
        if writer is None:
            return 0
        loss, sampler = objective(config.task), config.sampler.make(folder / "ledger.sqlite")
        study = optuna.create_study(sampler=sampler)
        say_uncounted(config.sampler)
        begun, spent = time.monotonic(), dict.fromkeys(COSTS, 0.0)
        for number in range(1, config.trials + 1):
            study.optimize(loss, n_trials=1)
            trial = study.trials[-1]
            about = trial.user_attrs.get("qubo", {})
            spent = {key: spent[key] + about.get(key, 0.0) for key in COSTS}
            assert trial.value is not None
            row = {
                "loss/trial": trial.value,
                "eval/return": -study.best_value,
                "time/seconds": time.monotonic() - begun,
            }
            writer.write(number, row | {f"quantum/{key}": value for key, value in spent.items()})
        with atomic_file(folder / BEST) as file:
            file.write(to_yaml(study.best_trial.user_attrs[POINT]).encode())
        writer.flush()
        best = Episode(0, config.trials, -study.best_value)
        write_evaluation(folder, [best], config.trials, folder / BEST, finished=config.trials)
        print(f"{config.task}: loss {study.best_value:.4g} after {config.trials} trials by {config.sampler.name}")
    return 0
