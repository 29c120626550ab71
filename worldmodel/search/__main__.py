"""Search for hyperparameters: `python -m worldmodel.search [group=choice] [key=value] ...`, `--help` lists them."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("search", "worldmodel.search.run:run"))
