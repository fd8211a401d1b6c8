"""Builds each process from settings: adapters are chosen here and in the commands."""
