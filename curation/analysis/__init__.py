"""What captions are made of: their root verbs and nouns, parts of speech, lengths, and how varied their words are.

Import from its modules; importing the room loads nothing heavy.
"""
