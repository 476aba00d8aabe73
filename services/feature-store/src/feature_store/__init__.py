"""Feature store: the engine that folds events from Kafka into packed rows in Redis."""
