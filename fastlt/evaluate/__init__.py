"""How good a recogniser is, by class and by group of classes."""
