"""Feature semantics: what a feature means, and its online, offline and in-memory executions."""
