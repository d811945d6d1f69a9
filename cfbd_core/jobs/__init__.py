"""Commands that run as detached processes, and the app's server."""
