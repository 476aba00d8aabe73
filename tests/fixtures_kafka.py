"""A real Kafka broker for tests: one KRaft node on free ports, its data in a temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

REPO = Path(__file__).resolve().parents[1]
START_DEADLINE = 90.0
CLUSTER_ID = "plinth-tests-cluster00"
MakeTopic = Callable[..., str]

_HEAP = ("-Xmx256m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR")
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
"""


class KafkaProcess:
    """A broker that can be started again on the same data, for tests that take it away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        self._classpath = f"{_libs()}/*"
        self._write_properties()

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def send_signal(self, number: signal.Signals) -> None:
        """E.g. SIGSTOP, for a broker that hangs."""
        assert self._process is not None
        self._process.send_signal(number)

    def start(self) -> None:
        """Returns once the broker answers; fails the test with its log after a deadline."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *_HEAP, "-cp", self._classpath, "kafka.Kafka", str(self._properties)],  # noqa: S607
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the broker, with SIGKILL if it does not obey."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _write_properties(self) -> None:
        text = _PROPERTIES.format(port=self._port, controller_port=_free_port(), data=self.folder / "data")
        self._properties.write_text(text)
        storage = ["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID]
        subprocess.run(
            ["java", *_HEAP, "-cp", self._classpath, *storage, "-c", str(self._properties)],  # noqa: S607
            check=True,
            capture_output=True,
            timeout=START_DEADLINE,
        )

    def _await(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + START_DEADLINE
        while True:
            try:
                admin.list_topics(timeout=1)
                return
            except KafkaException:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"no broker:\n{(self.folder / 'broker.log').read_text()[-4000:]}")


@pytest.fixture(scope="session")
def kafka_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """The session's broker."""
    process = KafkaProcess(tmp_path_factory.mktemp("kafka"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_process: KafkaProcess) -> str:
    """host:port of a real broker. Topics are made with `make_topic`; they never come into being alone."""
    return kafka_process.bootstrap


@pytest.fixture(scope="session")
def make_topic(kafka_bootstrap: str) -> MakeTopic:
    """make_topic(partitions=4, name=None, config={}) -> the name of a new topic, unique unless given."""
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})

    def make(partitions: int = 4, name: str | None = None, config: Mapping[str, str] | None = None) -> str:
        name = name or f"test.{uuid.uuid4().hex[:12]}"
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin.create_topics([topic])[name].result(30)
        return name

    return make


def _libs() -> Path:
    """The jars of infra/kafka/pom.xml, fetched when absent."""
    default = REPO / ".plinth" / "cache" / "kafka" / "libs"
    libs = Path(os.environ.get("PLINTH_KAFKA_LIBS", default))
    if not libs.is_dir():
        fetch = ["mvn", "-q", "-B", "-f", str(REPO / "infra/kafka/pom.xml"), "dependency:copy-dependencies"]
        subprocess.run(
            [*fetch, "-DincludeScope=runtime", f"-DoutputDirectory={libs}"], check=True, timeout=600
        )
    return libs


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
