"""The log on Kafka: clients, reading, transactions, topics. The only room that knows confluent-kafka."""
