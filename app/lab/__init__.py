"""The attack lab: its request, form and copies."""
