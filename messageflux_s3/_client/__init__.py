"""Connections to stores: configuration, the boto3 client, requests and their errors."""
