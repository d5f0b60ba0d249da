"""Releases and conversations in the forms that others read."""
