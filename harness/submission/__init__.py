"""Submissions: find them, build their images by content, take in those made elsewhere, lint and pack."""
