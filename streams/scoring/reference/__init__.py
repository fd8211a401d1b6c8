"""The step as plain Python, slow and obvious: the compiled step must equal it."""
