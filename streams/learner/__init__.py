"""The learner's process: consumes training examples, checkpoints, publishes versions."""
