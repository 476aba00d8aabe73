"""Policy files: YAML, checked against types before anything is decided by them.

`python -m fraud_scorer.policy_file` writes the JSON Schema beside the policy; with paths it checks files
against the features that are served, and says what is in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from fraud_scorer.core.policy import Judge, Policy, PolicyError
from plinth_features import spec
from plinth_kit.settings import SettingsError

SCHEMA = Path(__file__).parent / "policy.schema.json"


def load(path: Path) -> Policy:
    """A policy; PolicyError says what does not fit, and where."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Policy)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise PolicyError(f"{path}: {' '.join(str(error).split())}") from error


def judge(path: Path, names: Sequence[str], key: bytes = b"") -> Judge:
    """The judge of a policy over these features; SettingsError where the policy cannot be followed."""
    try:
        return Judge(load(path), names, key)
    except PolicyError as error:
        raise SettingsError(f"PLINTH_POLICY_FILE: {error}") from error


def schema() -> bytes:
    """JSON Schema of a policy file."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Policy)), indent=2) + b"\n"


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m fraud_scorer.policy_file", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument(
        "--features", type=Path, default=Path("feature_repo/compiled/fraud.json"), help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if not options.files:
        SCHEMA.write_bytes(schema())
        return 0
    try:
        names = spec.load(options.features).names
        for file in options.files:
            policy = load(file)
            Judge(policy, names)
            print(f"{file}: policy {policy.version!r} is valid, {len(policy.rules)} rules")  # noqa: T201
    except (PolicyError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
