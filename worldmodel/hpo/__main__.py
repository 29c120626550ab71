"""Search the hyperparameters of a small model: `python -m worldmodel.hpo [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("hpo", "worldmodel.hpo.run:run"))
