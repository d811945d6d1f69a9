"""Training on what an audit left: a contrastive loop that ends with the same bits wherever it was killed."""
