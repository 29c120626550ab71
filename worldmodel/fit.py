"""Train a small model on fixed data: `python -m worldmodel.fit [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("fit", "worldmodel.optimisation.fitting:run"))
