"""Data sets over releases."""
