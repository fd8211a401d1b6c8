"""The memory: what is known of a customer, and the maths that changes it."""
