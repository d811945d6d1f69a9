"""One audit: the facade, and each step from ingest to export."""
