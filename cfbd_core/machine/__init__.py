"""What disks, locks, processes and cores need; it knows nothing of pairs."""
