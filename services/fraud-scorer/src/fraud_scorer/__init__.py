"""Fraud scorer: decides card transactions over HTTP and Kafka."""
