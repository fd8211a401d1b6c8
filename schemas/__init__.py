"""The words: what crosses a wire, and its columns. Imports nothing of ours."""
