"""Files, local and in S3: uploads, downloads, open(), copies, folders."""
