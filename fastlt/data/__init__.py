"""What is on disk: sources of labelled pictures, recipes that make them long-tailed, and HDF5 shards."""
