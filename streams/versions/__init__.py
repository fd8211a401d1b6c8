"""Which weights, policies and profiles are in force, and from which moment of event time."""
