"""Publishing events, files and commands into the input topics."""
