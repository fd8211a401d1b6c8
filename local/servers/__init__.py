"""A real Kafka and Valkey from wheels, as child processes."""
