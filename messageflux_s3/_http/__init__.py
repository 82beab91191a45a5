"""The fast lane: request signing, HTTP/1.1 and a connection pool of its own, beside boto3."""
