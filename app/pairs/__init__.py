"""Pairs on pages: filters, chips, cards, one pair, and the review of one after another."""
