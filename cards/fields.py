"""What each column of an export is, for the card's table and for Croissant's fields."""

FIELDS = {
    "image": "the picture, bytes as downloaded; null where its source lets only a URL, or nothing, be passed on",
    "caption": "the first caption",
    "captions": "all captions, each with its role, what wrote it (kind, producer, revision), what was asked (prompt), licence and date",
    "image_id": "SHA-256 of the picture's bytes, hexadecimal",
    "source": "the source, one of those listed below",
    "source_key": "the row's key in its source",
    "collection": "the collection that quotas count",
    "subset": "the kind within its collection, where there is one",
    "url": "where the picture was downloaded from",
    "license": "the picture's own licence, where its source says one",
    "author": "the picture's author, where its source says one",
    "redistribute": "what of the picture its source lets be passed on: bytes, urls or none",
    "split": "the split that the row is in",
    "width": "pixels, as a viewer shows the picture",
    "height": "pixels, as a viewer shows the picture",
    "row_sha256": "hash over the row's keys, picture, split and captions",
    "position": "the row's place in the release, from 0",
    "id": "the row's own id, as its file had it",
    "conversations": "the turns, each with who speaks (from) and what is said (value)",
    "record": "the whole row as JSON, as its file had it",
    "picture_ids": "SHA-256 of each of the row's pictures that the lake has",
    "conversation_id": "the conversation's id, a hash of its place in its file and of what it says",
    "origin": "the file that the row was in and its number there, or the release it was made for",
    "caption_id": "the caption that the conversation was made of, if it was made of one",
    "picture_sources": "each row of a source that a picture of the row is: key, collection, licence, and what may be passed on",
    "pictures": "the row's pictures; null where their source does not let them be passed on",
}
CONVERSATION = {
    "image": "the path of the picture, as its file had it"
}  # where the column means another thing than in a release of images


def field(name: str, *, conversational: bool) -> str:
    """What the column is."""
    return (CONVERSATION if conversational else {}).get(name) or FIELDS.get(name, name)
