"""Audits from the app: a new one, running jobs, unfinished ones."""
