"""Train a small model on fixed data: `python -m worldmodel.fit [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("fit", "worldmodel.fit.run:run"))
