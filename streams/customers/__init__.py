"""Questions about one customer: why this score, what would change it, which requests were declined, what changed."""
