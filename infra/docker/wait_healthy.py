"""Wait until the containers of a Compose project are healthy.

    python infra/docker/wait_healthy.py PROJECT [SERVICE...]

A container with a health check must be healthy, one without must run, a one-shot must have ended with 0.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Collection, Sequence

import msgspec

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


class Health(msgspec.Struct, rename="pascal"):
    """What the last checks said."""

    status: str


class State(msgspec.Struct, rename="pascal"):
    """State of a container, as Docker tells it."""

    status: str
    exit_code: int
    health: Health | None = None


class Config(msgspec.Struct, rename="pascal"):
    """What it was made from."""

    labels: dict[str, str]


class Container(msgspec.Struct, rename="pascal"):
    """A container, as `docker inspect` prints it."""

    name: str
    state: State
    config: Config


def waits_for(container: Container) -> str | None:
    """What is missing; None when there is nothing to wait for. RuntimeError when waiting is in vain."""
    state = container.state
    if state.status == "exited":
        if state.exit_code != 0:
            raise RuntimeError(f"{container.name} ended with {state.exit_code}")
        return None
    if state.status != "running":
        return state.status
    if state.health is None or state.health.status == "healthy":
        return None
    return state.health.status


def inspect(project: str, services: Collection[str]) -> list[Container]:
    """The containers of these services of the project (of all without any), stopped ones included."""
    label = f"label={PROJECT}={project}"
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", label],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    if not listed:
        raise RuntimeError(f"no container belongs to the project {project!r}")
    told = subprocess.run(["docker", "inspect", *listed], check=True, capture_output=True)  # noqa: S607
    found = msgspec.json.decode(told.stdout, type=list[Container])
    chosen = [c for c in found if not services or c.config.labels.get(SERVICE) in services]
    if absent := set(services) - {c.config.labels.get(SERVICE) for c in chosen}:
        raise RuntimeError(f"no container of {', '.join(sorted(absent))}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("services", nargs="*")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    while True:
        try:
            missing = {
                c.name: wrong for c in inspect(options.project, options.services) if (wrong := waits_for(c))
            }
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        seconds = time.monotonic() - began
        if not missing:
            sys.stdout.write(f"healthy after {seconds:.0f} s\n")
            return 0
        if seconds > options.timeout:
            sys.stderr.write(f"not healthy after {seconds:.0f} s: {missing}\n")
            return 1
        time.sleep(1)


if __name__ == "__main__":
    raise SystemExit(main())
