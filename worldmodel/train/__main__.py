"""Train a world-model agent: `python -m worldmodel.train [group=choice] [key=value] ...`, `--help` lists them."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("train", "worldmodel.train.run:run"))
