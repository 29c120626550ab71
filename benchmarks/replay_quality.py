"""All figures of docs/replay.md: `OMP_NUM_THREADS=1 python benchmarks/replay_quality.py [PART ...] [--json FOLDER]`.

annealed, boltzmann, markov, amplitude, recall, cliffwalk: each is a script of its own beside this one (`--help` says
what it does and how to ask for less), run here with its defaults, one after the other. A part that fails is said, the
others go on, and the exit status is 1.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import parse

PARTS = {
    "annealed": "replay_annealed.py",
    "boltzmann": "replay_boltzmann.py",
    "markov": "replay_markov.py",
    "amplitude": "replay_amplitude.py",
    "recall": "replay_recall.py",
    "cliffwalk": "cliffwalk.py",
}


def main() -> int:
    """Run the parts."""
    given = parse(__doc__, PARTS, label="PART")
    failed = []
    for part in given.parts:
        print(f"\n## {part}\n", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(PARTS[part]))]
        if given.json:
            given.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(given.json / f"{part}.json")]
        if subprocess.run(command).returncode:
            failed.append(part)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
