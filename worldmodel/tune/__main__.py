"""Train a policy that tunes circuits: `python -m worldmodel.tune [group=choice] [key=value] ...`; see `--help`."""

from worldmodel.cli.command import command, leave

if __name__ == "__main__":
    leave(command("tune", "worldmodel.tune.run:run"))
