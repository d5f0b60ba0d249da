"""Versions of a data set: made, listed, verified, compared."""
