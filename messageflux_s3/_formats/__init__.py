"""Parsers, encoders and renderers: pure functions without boto3 and without I/O."""
