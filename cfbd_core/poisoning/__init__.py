"""What one does with an attack: plan it, write poisoned copies with their truth."""
