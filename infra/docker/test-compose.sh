#!/bin/sh
# Builds and starts docker-compose.yml under a project name of its own, runs the end-to-end tests and the check
# of the dashboards on it, and removes it whatever happened. The exit code is that of the first step that failed.
#   COMPOSE    the command to use ("docker compose" or "docker-compose")
#   SERVICES   what to start (default: everything but grafana, which no test looks at)
set -u
cd "$(dirname "$0")/../.."
compose=${COMPOSE:-docker-compose}
export COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-plinth-test}" DOCKER_BUILDKIT=1 PLINTH_E2E=compose
python=${VENV_PYTHON:-.venv/bin/python}
services=${SERVICES:-$($compose config --services | grep -v '^grafana$')}

finish() {
  status=$?
  trap - EXIT
  [ "$status" = 0 ] || $compose logs --tail 40
  $compose down --volumes --timeout 20
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

set -e
$compose build $services
$compose up -d $services
$python infra/docker/wait_healthy.py "$COMPOSE_PROJECT_NAME" --timeout 300
eval "$($compose run --rm --no-deps -T secrets cat /secrets/client/api-keys.env | sed -n 's/^PLINTH_API_KEY_/export &/p')"
$python -m pytest tests/e2e
$python infra/grafana/check_dashboards.py "http://127.0.0.1:${PLINTH_PORT_PROMETHEUS:-9090}"
