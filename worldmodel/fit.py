"""Train a small model on fixed data: `python -m worldmodel.fit [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command, leave

if __name__ == "__main__":
    leave(command("fit", "worldmodel.optimisation.fitting:run"))
