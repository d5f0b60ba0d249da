"""MME's folders: a subtask each, text files of questions beside the pictures, or in ``questions_answers_YN`` beside ``images``."""

from pathlib import PurePosixPath


def subject(name: str) -> tuple[str, str]:
    """The subtask's folder and the stem, by which a picture and its questions find each other."""
    path = PurePosixPath(name)
    folder = path.parent.parent if path.parent.name in ("images", "questions_answers_YN") else path.parent
    return str(folder), path.stem
