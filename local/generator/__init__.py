"""Synthetic customers, transactions and loans."""
