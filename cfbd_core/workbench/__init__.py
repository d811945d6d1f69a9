"""A scored audit held ready: what sliders find, filters, groups, copies and likeness."""
