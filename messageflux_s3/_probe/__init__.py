"""Detection of what a store supports."""
