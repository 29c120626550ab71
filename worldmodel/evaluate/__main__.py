"""Evaluate a trained agent: `python -m worldmodel.evaluate logdir=... [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("evaluate", "worldmodel.evaluate.run:run"))
