"""From pictures and captions to vectors, and F from an image's vector to its expected caption's."""
