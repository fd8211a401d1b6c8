"""The scores: pure maths over rows, one module per score, and the step that joins them."""
