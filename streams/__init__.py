"""The motion: bytes in, bytes out."""
