"""The operations on one object, and what they need."""
