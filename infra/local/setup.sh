#!/bin/sh
# Makes .venv from the lock, with uv of a pinned version kept among the downloads. Run by `make setup`.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3.11}
uv_version=$1
shift # the rest: folders of local packages
tools=.plinth/cache/tools

fail() {
  echo "setup: $*" >&2
  exit 1
}

may_install() {
  [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] || return 1
  [ "${CI:-}" = true ] && return 0
  [ -t 0 ] || return 1
  printf 'setup: run `apt-get install -y python3.11-venv`? [Y/n] '
  read -r answer
  case $answer in [nN]*) return 1 ;; esac
}

complete() {
  command -v "$python" > /dev/null && "$python" -c "import ensurepip, venv" 2> /dev/null
}

if ! complete && may_install; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3.11-venv
fi
complete || fail "$python with its venv module is missing; install it (Debian 12: apt-get install python3.11-venv)" \
  "or name another Python 3.11: make setup PYTHON=/path/to/python3.11"
"$python" -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" \
  || fail "$python is not Python 3.11, which the lock is made for; set PYTHON=/path/to/python3.11"

uv="$tools/bin/uv"
if [ "$("$uv" --version 2> /dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
  rm -rf "$tools"
  "$python" -m venv "$tools"
  "$tools/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version"
fi
[ $# -gt 0 ] || exit 0

[ -x .venv/bin/python ] || "$python" -m venv --without-pip .venv
echo "setup: installing requirements/all.txt into .venv"
# Compiled once here: servers and tests start several times faster than from source.
"$uv" pip sync -q --python .venv/bin/python --require-hashes --compile-bytecode requirements/all.txt
for folder in "$@"; do
  set -- "$@" -e "./$folder"
  shift
done
"$uv" pip install -q --python .venv/bin/python --no-deps --no-build-isolation "$@"
# The feature kernels too, which otherwise the first process to start would compile.
.venv/bin/python -c "from plinth_features.rows import warm; warm()"
