"""Train a world-model agent: `python -m worldmodel.train [group=choice] [key=value] ...`, `--help` lists them."""

from worldmodel.command import command, leave

if __name__ == "__main__":
    leave(command("train", "worldmodel.training:run"))
