"""`python -m feature_store engine`."""

from __future__ import annotations

import sys

from feature_store.consumer import EngineHandler
from feature_store.metrics import EngineMetrics
from feature_store.settings import EngineSettings
from plinth_contracts import topics
from plinth_features import spec
from plinth_features.rows import Layout, warm
from plinth_features.store import RedisRows
from plinth_kit import logs, metrics, redis
from plinth_kit.health import Health
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.metrics import PrometheusObserver
from plinth_kit.kafka.runner import Runner
from plinth_kit.settings import load
from plinth_kit.worker import run_worker

SERVICE = "feature-store"
PATIENCE_MS = 50
"""Who scores adds what rows lack, exactly, but cannot take away what they have too early: better behind."""


def engine() -> int:
    """Run the feature engine until stopped; the exit status."""
    settings = load(EngineSettings)
    logs.configure(SERVICE, settings.log_level)
    registry = metrics.registry()
    client = redis.connect(settings.redis_url)
    health = Health()
    health.add("redis", redis.check(client))
    redis.Memory(client, registry)
    warm()
    views = spec.load(settings.feature_spec).views
    layouts = {view.name: Layout(view) for view in views}
    stores = {name: (layout, RedisRows(client, layout)) for name, layout in layouts.items()}
    handler = EngineHandler(views, stores, topics.by_name(), EngineMetrics(registry))
    runner = Runner(
        KafkaBroker(settings.kafka_bootstrap, SERVICE, settings.kafka_instance_id, patience_ms=PATIENCE_MS),
        SERVICE,
        handler.topics,
        handler,
        batch_size=settings.batch_size,
        observer=PrometheusObserver(registry),
    )
    return run_worker(runner, settings, registry=registry, health=health)


if __name__ == "__main__":
    if sys.argv[1:] != ["engine"]:
        sys.exit("usage: python -m feature_store engine")
    sys.exit(engine())
