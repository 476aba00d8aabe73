"""`python -m fraud_scorer api | worker | recorder | migrate`. A role imports what it needs and no more."""

from __future__ import annotations

import sys


def main(role: str) -> int:
    """Run one role until stopped, or until the schema is up to date; the exit status."""
    match role:
        case "api":
            from fraud_scorer import scoring

            return scoring.api()
        case "worker":
            from fraud_scorer import scoring

            return scoring.worker()
        case "recorder":
            from fraud_scorer import recording

            return recording.recorder()
        case "migrate":
            from fraud_scorer import recording

            return recording.migrate()
    sys.exit("usage: python -m fraud_scorer api | worker | recorder | migrate")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
