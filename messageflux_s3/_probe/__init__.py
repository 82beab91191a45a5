"""Asks a store what it can do."""
