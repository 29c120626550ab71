"""Search for hyperparameters: `python -m worldmodel.search [group=choice] [key=value] ...`, `--help` lists them."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("search", "worldmodel.searching:run"))
