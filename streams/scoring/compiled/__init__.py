"""The step for many customers at once, compiled. `reference` says what it must do."""
