"""Kafka for services: ports, two adapters (confluent-kafka and memory) and the runner of a consumer.

Import from the modules: only `confluent` and `metrics` load client libraries.
"""
