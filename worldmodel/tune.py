"""Train a policy that tunes circuits: `python -m worldmodel.tune [group=choice] [key=value] ...`; see `--help`."""

from worldmodel.command import command

if __name__ == "__main__":
    raise SystemExit(command("tune", "worldmodel.tuning:run"))
