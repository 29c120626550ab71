"""All figures of docs/replay.md: `OMP_NUM_THREADS=1 python benchmarks/replay_quality.py [PART ...] [--json FOLDER]`.

annealed, boltzmann, markov, amplitude, recall, cliffwalk: each is a script of its own beside this one (`--help` says
what it does and how to ask for less), run here with its defaults, one after the other. A part that fails is said, the
others go on, and the exit status is 1.
"""

import argparse
import subprocess
import sys
from pathlib import Path

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"{', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write PART.json here")
    options = parser.parse_args()
    failed = []
    for part in options.parts or PARTS:
        print(f"\n## {part}\n", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(PARTS[part]))]
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(options.json / f"{part}.json")]
        if subprocess.run(command).returncode:
            failed.append(part)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
