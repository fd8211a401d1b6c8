"""The worker's loop: assignment, merging by time, transactions, recovery. Knows no score."""
