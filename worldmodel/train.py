"""Train a world-model agent: `python -m worldmodel.train [group=choice] [key=value] ...`, `--help` lists them."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("train", "worldmodel.training:run"))
