"""Maps: embeddings laid out in the plane, with pictures on them."""
