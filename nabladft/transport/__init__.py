"""Bytes from elsewhere: HTTP(S), S3, files and folders; ranges, retries, clear failures."""
