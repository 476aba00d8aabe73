"""What must exist before or inside the processes: folders, secrets, jars, databases, topics."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from plinth_cli.config import Config
from plinth_cli.errors import PlatformError
from plinth_cli.table import HOST, Process
from plinth_kit.files import write_private


def make_folders(config: Config, processes: Sequence[Process]) -> None:
    """The state folder's parts, and a data folder for each process whose command names one."""
    for folder in (config.run, config.log, config.data, config.cache):
        folder.mkdir(parents=True, exist_ok=True)
    for process in processes:
        folder = config.data / process.name
        if str(folder) in process.command:
            folder.mkdir(exist_ok=True)


def make_secrets(config: Config) -> str:
    """API keys, the Postgres password and the scorers' secret, made once. Returns the password."""
    if not (config.keys_file.exists() and config.clear_keys_file.exists()):
        _make_keys(config)
    for file in (config.postgres_password_file, config.let_through_key_file):
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
    return config.postgres_password_file.read_text()


def _make_keys(config: Config) -> None:
    from plinth_kit.auth import key_files

    clear, digests = key_files()
    write_private(config.clear_keys_file, clear)
    write_private(config.keys_file, digests)


def jars_folder(config: Config) -> Path:
    """Where Kafka's jars are kept."""
    return config.cache / "kafka" / "libs"


def jars_present(config: Config) -> bool:
    """Whether the jars of the present `pom.xml` are there."""
    stamp = jars_folder(config) / "pom.sha256"
    return stamp.exists() and stamp.read_text() == _pom_digest(config)


def fetch_jars(config: Config) -> None:
    """Fetch Kafka's jars with Maven; PlatformError with Maven's words if that fails."""
    folder = jars_folder(config)
    new = folder.with_name("libs.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={new}"]
    command = ["mvn", "-q", "-B", "-ntp", "-f", str(config.root / "infra/kafka/pom.xml"), *goal]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[:8])
        raise PlatformError(f"Maven could not fetch Kafka's jars; check the network and run again:\n{words}")
    (new / "pom.sha256").write_text(_pom_digest(config))
    shutil.rmtree(folder, ignore_errors=True)
    for archive in folder.parent.glob("*.jsa"):
        archive.unlink()
    new.rename(folder)


def _pom_digest(config: Config) -> str:
    return hashlib.sha256((config.root / "infra/kafka/pom.xml").read_bytes()).hexdigest()


def create_databases(port: int, password: str, names: Sequence[str]) -> list[str]:
    """Create the databases that are missing; returns their names. psycopg.Error if Postgres is not there."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(
        host=HOST,
        port=port,
        user="plinth",
        password=password,
        dbname="postgres",
        autocommit=True,
        connect_timeout=3,
    ) as connection:
        present = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        missing = [name for name in names if name not in present]
        for name in missing:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return missing


def create_topics(port: int) -> list[str]:
    """Create the declared topics that are missing; returns their names. KafkaError if Kafka is not there."""
    from plinth_cli import kafka_admin
    from plinth_contracts.topics import load

    with kafka_admin.connect(f"{HOST}:{port}") as admin:
        return kafka_admin.create_missing(admin, load())
