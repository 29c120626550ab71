"""Compare arms at equal budget: `python -m worldmodel.compare [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("compare", "worldmodel.compare.run:run"))
