"""Evaluate a trained agent: `python -m worldmodel.evaluate logdir=... [key=value] ...`, `--help` lists the keys."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("evaluate", "worldmodel.evaluating:run"))
