"""``contradicts_source`` and ``omits_source``: what a caption says, beside what annotations say of its picture.

Objects, after Rohrbach et al., Object Hallucination in Image Captioning (2018): what is there is what COCO's instances name and what
people's captions of the picture name. Text: the strings that OCR read (``ocr.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag, Span
from captionlake.curation.flags.objects import Mention, mentions, token_spans
from captionlake.curation.flags.ocr import FEWEST_READ, missing_strings, readable, unread_quotations
from captionlake.curation.flags.text import shown

VERSION = 1
_FEWEST_OBJECTS = 2


@dataclass(frozen=True, slots=True)
class Objects:
    """Of one caption: annotated classes, those of them that it names, all that it names and those that are not there."""

    annotated: frozenset[str]
    named: frozenset[str]
    mentioned: frozenset[str]
    hallucinated: frozenset[str]
    spans: tuple[Span, ...]  # of what is not there


def compare_objects(caption: Caption) -> Objects:
    """Each class counts once. A name of several classes is one object: of those it may be, the ones that are there."""
    annotated = frozenset(caption.objects or ())
    there = annotated.union(*(each.classes for text in caption.references for each in mentions(text)))
    named: set[str] = set()
    hallucinated: dict[str, list[Mention]] = {}
    for mention in mentions(caption.text):
        if present := there.intersection(mention.classes):
            named |= present
        elif mention.sure:
            hallucinated.setdefault(mention.classes[0], []).append(mention)
    return Objects(
        annotated=annotated,
        named=annotated & named,
        mentioned=frozenset(named | hallucinated.keys()),
        hallucinated=frozenset(hallucinated),
        spans=_spans(caption.text, hallucinated.values()),
    )


def _spans(text: str, names: Iterable[list[Mention]]) -> tuple[Span, ...]:
    at = [mention for some in names for mention in some]
    places = token_spans(text) if at else []
    return tuple((places[mention.first][0], places[mention.first + mention.n - 1][1]) for mention in at)


def disagreement(caption: Caption, config: FlagConfig) -> list[Finding]:
    """Both flags, by objects and by text where these are annotated."""
    found: dict[Flag, tuple[list[str], list[Span]]] = {}
    long_enough = caption.is_made and len(caption.text.split()) >= config.omits_from_words

    def note(flag: Flag, detail: str, spans: tuple[Span, ...] = ()) -> None:
        details, places = found.setdefault(flag, ([], []))
        details.append(detail)
        places.extend(spans)

    if caption.objects is not None:
        objects = compare_objects(caption)
        if len(objects.hallucinated) >= config.contradicting_objects:
            note(Flag.CONTRADICTS_SOURCE, f"names {_listed(objects.hallucinated)}", objects.spans)
        share = len(objects.named) / max(1, len(objects.annotated))
        if long_enough and len(objects.annotated) >= _FEWEST_OBJECTS and share < config.named_objects_share:
            note(Flag.OMITS_SOURCE, f"does not name {_listed(objects.annotated - objects.named)}")
    if caption.ocr is not None:
        unread = unread_quotations(caption.text, caption.ocr, config.unread_share)
        if unread:
            told = shown(", ".join(dict.fromkeys(word for word, _ in unread)))
            note(Flag.CONTRADICTS_SOURCE, f"quotes what OCR did not read: {told}", tuple(span for _, span in unread))
        missing = missing_strings(caption.text, caption.ocr)
        read = len(readable(caption.ocr))
        if long_enough and read >= FEWEST_READ and 1 - len(missing) / read < config.named_text_share:
            note(Flag.OMITS_SOURCE, f"does not say {shown(', '.join(missing))}")
    return [
        Finding(flag=flag, detail="; ".join(details), spans=tuple(places)) for flag, (details, places) in found.items()
    ]


def _listed(classes: frozenset[str]) -> str:
    return ", ".join(sorted(classes))
