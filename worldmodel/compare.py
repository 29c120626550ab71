"""Compare arms at equal budget: `python -m worldmodel.compare [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("compare", "worldmodel.comparison.comparing:run"))
