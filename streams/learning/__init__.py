"""Learning: estimators with river's verbs over plain arrays, and river's own beside them; epochs and governance."""
