"""The method, the paper's and ours: pure functions, arrays in, arrays out."""
