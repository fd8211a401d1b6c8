"""`rescore demo`: everything on one machine."""
