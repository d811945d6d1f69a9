"""What a page waits for: threads beside it, parts that fill in later, previews."""
