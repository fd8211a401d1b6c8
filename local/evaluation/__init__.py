"""`rescore evaluate`: what the scores are worth on real data, beside a batch reference on the same rows."""
