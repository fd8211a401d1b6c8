"""Recomputing published scores from the inputs and comparing; erasure."""
