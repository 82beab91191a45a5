"""The way to a store: configuration, the boto3 client, errors."""
