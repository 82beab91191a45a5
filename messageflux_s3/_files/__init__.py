"""Uploads, downloads, file objects, copies, and synchronisation of folders."""
