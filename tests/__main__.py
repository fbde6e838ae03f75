"""All checks, in the order of how quickly they fail: ``python -m tests [pytest's arguments]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports", "--no-cache"],
    "tests": ["pytest", "-n", "auto", "--dist", "worksteal"],
}


def main(arguments: list[str]) -> int:
    """Run every check, also after one has failed; the number of those that failed."""
    failed = []
    for name, (tool, *options) in CHECKS.items():
        print(f"== {name}: {tool} {' '.join(options)}", flush=True)
        more = arguments if name == "tests" else []
        if subprocess.run([BIN / tool, *options, *more], cwd=ROOT, check=False).returncode:
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "All checks passed.")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
