"""Training runs on the page Train: the request, its form, what runs, tables and charts."""
