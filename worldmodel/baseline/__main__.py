"""Train a model-free baseline: `python -m worldmodel.baseline [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("baseline", "worldmodel.baseline.run:run"))
