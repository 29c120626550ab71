"""Search the hyperparameters of a small model: `python -m worldmodel.hpo [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("hpo", "worldmodel.optimisation.sampling:run"))
