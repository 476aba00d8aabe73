#!/bin/sh
# Postgres in the foreground: run.sh BIN DATA PORT PASSWORD_FILE
# The data folder is made on the first start, beside its final place, so that a broken first start leaves none.
set -eu
bin=$1 data=$2 port=$3 password_file=$4
here=$(cd "$(dirname "$0")" && pwd)

# Postgres refuses to run as root. As root it runs as "nobody"; where that user cannot pass through the
# folders above (a checkout below /root), it keeps the one capability that lets it, and no file mode changes.
drop=""
mkdir -p "$(dirname "$data")"
if [ "$(id -u)" = 0 ]; then
  command -v setpriv > /dev/null || { echo "as root, Postgres needs setpriv (package util-linux)" >&2; exit 1; }
  drop="setpriv --reuid=nobody --regid=$(id -g nobody) --clear-groups"
  if ! $drop test -x "$bin/postgres" || ! $drop test -r "$here/postgresql.conf" \
      || ! $drop test -x "$(dirname "$data")"; then
    drop="$drop --inh-caps=+dac_override --ambient-caps=+dac_override"
  fi
fi

if [ ! -f "$data/PG_VERSION" ]; then
  new="$data.new"
  rm -rf "$new" "$new.password"
  mkdir -m 700 "$new"
  (umask 077 && cp "$password_file" "$new.password")
  trap 'rm -f "$new.password"' EXIT
  [ -z "$drop" ] || chown nobody "$new" "$new.password"
  $drop "$bin/initdb" --pgdata="$new" --username=plinth --pwfile="$new.password" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8
  rm -f "$new.password"
  rmdir "$data" 2> /dev/null || true
  mv "$new" "$data"
fi

exec $drop "$bin/postgres" -D "$data" -c config_file="$here/postgresql.conf" -c port="$port"
