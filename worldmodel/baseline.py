"""Train a model-free baseline: `python -m worldmodel.baseline [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("baseline", "worldmodel.model_free:run"))
