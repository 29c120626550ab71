"""Explain a trained agent: `python -m worldmodel.explain logdir=... [key=value] ...`, `--help` lists the keys."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("explain", "worldmodel.explain.run:run"))
