"""Fixtures shared by all tests; each group in a module of its own."""

pytest_plugins = ["fixtures_kafka", "fixtures_platform", "fixtures_stores"]
