"""The fast lane: signing, HTTP/1.1 and connections of our own, beside boto3."""
