"""``cfbd bench``: the paper's tables and figures remade on any source, resumable cell by cell."""
