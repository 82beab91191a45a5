"""What travels and what is shown, as values: pure functions, no boto3, no I/O."""
