"""Scripts that make the packaged models."""
