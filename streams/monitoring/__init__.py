"""Lag and logs: what operators watch."""
