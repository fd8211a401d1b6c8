"""A real Kafka and a real Valkey on this machine, data that looks like a bank, and the demo made of them."""
