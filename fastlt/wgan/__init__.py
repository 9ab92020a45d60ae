"""ML-WGAN-GP: a generative network of its own for every image, many of them trained at once."""
