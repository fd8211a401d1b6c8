"""Benchmarks: throughput beside other engines, latency, restore, bytes."""
