"""Exact and near duplicates of captions and images, as a finding of their own."""
