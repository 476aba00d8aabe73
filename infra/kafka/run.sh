#!/bin/sh
# One Kafka node in the foreground: run.sh LIBS DATA PORT CONTROLLER_PORT CACHE
# LIBS holds the jars, DATA the log and the effective configuration, CACHE the class archive.
set -eu
libs=$1 data=$2 port=$3 controller_port=$4 cache=$5
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$data" "$cache"

config="$data/server.properties"
cat "$here/server.properties" - > "$config" <<EOF
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
controller.quorum.bootstrap.servers=127.0.0.1:$controller_port
log.dirs=$data/log
EOF

jvm="-Xms64m -Xmx256m -XX:+UseSerialGC -Djava.awt.headless=true"
kafka() {
  exec java $jvm "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$libs/*" "$@"
}

if [ ! -f "$data/log/meta.properties" ]; then
  (jvm="$jvm -XX:TieredStopAtLevel=1" \
    && kafka kafka.tools.StorageTool format --standalone --cluster-id plinth-local-cluster-0 --config "$config")
fi

# The first clean stop writes an archive of loaded classes; later starts map it and take half the time.
home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
version=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$home/release" 2>/dev/null || true)
archive="$cache/classes-java-$version.jsa"
if [ -f "$archive" ]; then
  jvm="$jvm -XX:SharedArchiveFile=$archive"
elif [ -n "$version" ]; then
  jvm="$jvm -XX:ArchiveClassesAtExit=$archive"
fi
kafka kafka.Kafka "$config"
