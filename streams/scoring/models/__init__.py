"""Model files and their formulas: value, risk, acceptance, insurance."""
