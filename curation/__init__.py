"""Curation: which images stay, and why the others do not.

Import from its modules; importing the room loads nothing heavy.
"""
