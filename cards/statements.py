"""The card's statements as sentences of plain text, for the properties of Croissant: what was measured, and where nothing was."""

from collections.abc import Iterable, Iterator
from typing import Any

from captionlake.cards.facts import Facts
from captionlake.cards.markdown import excerpt, plural, web_url

_LONGEST = 2000  # characters of a statement
_SHOWN = 12  # parts of one


def description(facts: Facts) -> str:
    """What the release holds."""
    totals = facts["totals"].only
    if facts.conversational:
        return (
            f"{plural(totals['items'], 'conversation')} about {plural(totals['images'], 'picture')}, "
            f"{totals['without_picture']:,} of them of text alone."
        )
    held = f"{plural(totals['items'], 'picture')} of {plural(totals['collections'], 'collection')}"
    return (
        f"{held} with {plural(totals['captions'], 'caption')}. Every number that is stated of it can be asked again: "
        "facts.json holds the queries."
    )


def citation(facts: Facts, title: str) -> str:
    """BibTeX."""
    plain = title.replace("{", "(").replace("}", ")").replace("\\", "/")
    return (
        f"@misc{{{facts.name}-{facts.version}, title = {{{plain}}}, version = {{{facts.version}}}, "
        f"note = {{content SHA-256 {facts['release'].only['content_sha256']}}}}}"
    )


def statements(facts: Facts) -> dict[str, Any]:
    """Properties of Croissant's vocabularies for responsible AI, provenance and use, each a text or a list of texts."""
    found = _common(facts) | ({} if facts.conversational else _of_pictures(facts))
    return {name: _cut(value) for name, value in found.items()}


def _common(facts: Facts) -> dict[str, Any]:
    return {
        "rai:dataReleaseMaintenancePlan": "A picture that someone asks to be removed is taken out of the lake, out of this "
        "release, whose row stays as a hole, and out of what was published; a receipt names the versions that held it.",
        "usageInfo": "LICENSE.md: the licence of each source, and what of its pictures may be passed on. Each row has its own "
        "licence and author.",
        "prov:wasGeneratedBy": [
            {
                "@type": "prov:Activity",
                "prov:label": "captionlake run",
                "description": f"The recipe with SHA-256 {facts['release'].only['recipe_sha256']}, whole in README.md.",
                "prov:wasAssociatedWith": [
                    {"@type": "prov:SoftwareAgent", "name": row["package"], "version": row["version"]}
                    for row in facts["versions"].records[:_SHOWN]
                ],
            }
        ],
    }


def _of_pictures(facts: Facts) -> dict[str, Any]:
    days = [row[name] for row in facts["fetched"].records for name in ("first_day", "last_day") if row[name]]
    producers = facts["captions_by_producer"].records
    tools = [
        f"{row['producer']}{' at ' + row['producer_revision'] if row['producer_revision'] else ''}"
        for row in producers
        if row["kind"] in ("teacher", "captioner")
    ]
    totals, gaps = facts["totals"].only, facts["gaps"].only
    return {
        "rai:dataCollection": "Pictures of "
        + _joined(
            f"{row['source']} ({row['present']:,} in the lake, {row['failed']:,} failed)"
            for row in facts["fetched"].records
        )
        + ".",
        "rai:dataCollectionType": ["Web Scraping", "Existing Datasets"],
        "rai:dataCollectionTimeframe": [min(days), max(days)] if days else [],
        "rai:dataCollectionMissingData": _joined(
            f"{row['rows']:,} of {row['source']}: {row['reason']}" for row in facts["failures"].records
        )
        or "No listed picture is missing.",
        "rai:dataPreprocessingProtocol": [
            "Pictures are kept as downloaded. Left out, with a reason for each: "
            + (_joined(f"{row['pictures']:,} as {row['reason']}" for row in facts["exclusions"].records) or "none")
            + "."
        ],
        "rai:dataAnnotationProtocol": [
            f"{row['captions']:,} captions of kind {row['kind']} by {row['producer']}" for row in producers[:_SHOWN]
        ],
        "rai:machineAnnotationTools": tools[:_SHOWN],
        "rai:annotationsPerItem": f"{totals['captions'] / totals['items']:.2f} captions on average"
        if totals["items"]
        else "",
        "rai:dataBiases": list(_biases(facts)),
        "rai:personalSensitiveInformation": list(_personal(facts)),
        "rai:dataLimitations": [
            f"{gaps['without_licence']:,} pictures have no recorded licence and {gaps['without_author']:,} no author.",
            "Whether a caption is true of its picture was not checked.",
        ],
        "rai:dataUseCases": ["Training and evaluation of models that describe pictures", "Study of captions"],
        "prov:wasDerivedFrom": [
            {
                "@type": "prov:Entity",
                "@id": web_url(row["homepage"]) or f"urn:captionlake:source:{number}",
                "prov:label": row["title"] or row["source"],
                "license": row["licence"] or "not recorded",
            }
            for number, row in enumerate(facts["sources"].records)
        ],
    }


def _biases(facts: Facts) -> Iterator[str]:
    people = facts["people"].records
    if not people:
        yield (
            "No English word for people that was looked for stands in a caption."
            if facts["totals"].only["captions"]
            else "Not measured."
        )
    for row in people[:_SHOWN]:
        yield (
            f"Words for {row['group']}: {row['captions']:,} captions ({row['percent']} %), of these {row['with_women']:,} with words for "
            f"women alone, {row['with_men']:,} for men alone."
        )


def _personal(facts: Facts) -> Iterator[str]:
    for row in facts["flags"].records:
        if row["flag"] == "personal_data":
            yield f"Personal data in {row['found']:,} of {row['looked_at']:,} captions by {row['producer']} that were looked at."
    scored = sum(row["nsfw_measured"] for row in facts["traits"].records)
    if scored:
        high = sum(row["nsfw_from_50"] for row in facts["traits"].records)
        yield f"Nudity: {high:,} of {scored:,} pictures that were scored reach 0.5."
    yield "People who can be recognised were not looked for, and are to be expected."


def _joined(parts: Iterable[str]) -> str:
    told = list(parts)
    more = [f"{len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return "; ".join([*told[:_SHOWN], *more])


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return excerpt(value, _LONGEST)
    return [_cut(one) for one in value] if isinstance(value, list) else value
