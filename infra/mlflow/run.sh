#!/bin/sh
# MLflow in the foreground: run.sh PYTHON HOST PORT DATA
# What answers is a child of what is started here. Killed, the parent leaves it behind, and it keeps the port:
# so the next start ends what is left of the last one's process group.
set -eu
python=$1 host=$2 port=$3 data=$4
last="$data/process-group"

if [ -f "$last" ]; then
  for pid in $(awk -v last="$(cat "$last")" '$5 == last {print $1}' /proc/[0-9]*/stat 2> /dev/null); do
    if grep -qa mlflow "/proc/$pid/cmdline"; then kill -KILL "$pid" || true; fi
  done
fi
echo $$ > "$last"

exec "$python" -m mlflow server --host "$host" --port "$port" --workers 1 --artifacts-destination "$data/artifacts"
