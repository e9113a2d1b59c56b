"""
Ask a vulnerability service about every version in requirements.lock.

    .venv/bin/python scripts/audit.py [osv|pypi]

Exit status 0: all of them were looked up, and none is known to be vulnerable.  1: some are.
2: not all could be looked up, so nothing is known; it is no success.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


def main(service: str) -> int:
    """Carry out the audit and tell what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)),
                *("--require-hashes", "--disable-pip", "--progress-spinner", "off"),
                *("--vulnerability-service", service, "--format", "json"),
                *("--output", str(report)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(report.read_text()) if report.exists() else {"dependencies": []}
    return judged(found["dependencies"], service=service, complaint=done.stderr)


def judged(looked_up: list[dict[str, Any]], *, service: str, complaint: str) -> int:
    """The exit status, and a line for whoever reads it."""
    skipped = [each["name"] for each in looked_up if "skip_reason" in each]
    vulnerable = [each for each in looked_up if each.get("vulns")]
    for each in vulnerable:
        ids = ", ".join(vulnerability["id"] for vulnerability in each["vulns"])
        print(f"{each['name']} {each['version']}: {ids}")
    if not looked_up:
        last = complaint.strip().rpartition("\n")[2]
        print(f"audit: {service} could not be asked, so nothing is known: {last}", file=sys.stderr)
        return 2
    if skipped:
        print(
            f"audit: {service} did not answer for {len(skipped)} of {len(looked_up)} packages"
            f" ({', '.join(skipped[:5])}, ...), so nothing is known of them",
            file=sys.stderr,
        )
        return 2
    print(f"audit: {service} knows of {len(vulnerable)} vulnerable in {len(looked_up)} packages")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "osv"))
