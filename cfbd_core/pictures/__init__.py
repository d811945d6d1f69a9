"""Pictures: read, decoded, compared with what was embedded, and as thumbnails."""
