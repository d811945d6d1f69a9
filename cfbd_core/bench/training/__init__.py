"""``cfbd bench training``: models trained with and without each defence, and what is left of accuracy and backdoor."""
