"""Measure parts by themselves: `python -m worldmodel.probe circuit [key=value] ...`, `--help` lists the keys."""

import sys

from worldmodel.cli.command import command, leave

NAMES = ("circuit", "termination")


def main(words: list[str]) -> int:
    """Run the probe that the first word names. Returns the exit code."""
    name, form = words[0] if words else "", f"python -m worldmodel.probe {'|'.join(NAMES)} [key=value] ..."
    if name in NAMES:
        return command(f"probe/{name}", f"worldmodel.probe.{name}.run:run", words[1:])
    if name in ("-h", "--help"):
        print(form)
        return 0
    print(f"error: probe {name}: no such probe; {form} is accepted", file=sys.stderr)
    return 2


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
