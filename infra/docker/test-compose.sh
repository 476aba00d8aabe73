#!/bin/sh
# Builds and starts docker-compose.yml as a project of its own, runs the end-to-end tests and the check of the
# dashboards on it, and removes it whatever happened. The exit code is that of the first step that failed.
#   COMPOSE        the command: "docker compose" or "docker-compose"
#   PLINTH_PORT_…  where to publish, as in .env.example
set -u
cd "$(dirname "$0")/../.."
compose=${COMPOSE:-docker-compose}
python=${PYTHON_BIN:-.venv/bin/python}
export COMPOSE_PROJECT_NAME=plinth-test DOCKER_BUILDKIT=1 PLINTH_E2E=compose

# The tests bring their own model and transactions, and look at no dashboard.
services=$($compose config --services | grep -vx -e demo -e grafana) || exit 1

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
$python infra/docker/wait_healthy.py "$COMPOSE_PROJECT_NAME" $services
keys=$($compose run --rm --no-deps -T secrets cat /secrets/client/api-keys.env)
export $(printf '%s\n' "$keys" | grep '^PLINTH_API_KEY_[A-Z]*=' | tr -d '\r')
$python -m pytest tests/e2e
$python infra/docker/wait_healthy.py "$COMPOSE_PROJECT_NAME" $services
$python infra/grafana/check_dashboards.py "http://127.0.0.1:${PLINTH_PORT_PROMETHEUS:-9090}"
