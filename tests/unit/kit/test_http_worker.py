from plinth_kit.health import Health
from plinth_kit.worker import watch


class Runner:
    heartbeat = 0.0
    waiting_for: str | None = "kafka"

    def run(self) -> None: ...

    def stop(self) -> None: ...


def test_a_worker_is_ready_when_its_runner_waits_for_nothing() -> None:
    runner, health = Runner(), Health()
    watch(runner, health, clock=lambda: 0.0)

    assert health.waiting_for() == ["consumer: kafka"]
    runner.waiting_for = None
    assert health.waiting_for() == []


def test_a_loop_that_does_not_turn_for_30_s_is_dead() -> None:
    now = 1_000.0
    runner, health = Runner(), Health()
    watch(runner, health, clock=lambda: now)

    now += 29.9
    assert health.dead_because() == []
    now += 0.1
    assert health.dead_because() == ["consumer: no turn of the loop for 30 s"]
    runner.heartbeat = now
    now += 29.9
    assert health.dead_because() == []
