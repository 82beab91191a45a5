"""Sub-resources: whatever is ``?something`` in S3's URL. Each is read, merged and written back; see ``base.py`` for what they share."""
