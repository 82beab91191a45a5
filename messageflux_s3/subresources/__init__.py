"""Sub-resources: configurations that S3 keeps under ``?something`` in a URL. ``base.py`` reads, merges and writes them."""
