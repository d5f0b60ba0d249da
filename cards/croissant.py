"""``croissant``: a card's facts in the form of Croissant 1.1 (mlcommons.org/croissant/1.1), with its vocabularies for responsible AI,
provenance (W3C PROV-O) and use.

With the files of an export each is named with its SHA-256 and the records can be iterated; without, they are a set of files beside it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from captionlake.cards.facts import Facts, File
from captionlake.cards.fields import field
from captionlake.cards.licences import licence_url
from captionlake.cards.markdown import web_url
from captionlake.cards.metadata import TAGS, licence, pretty_name, schema_of
from captionlake.cards.recipe_text import RecipeText
from captionlake.cards.statements import citation, description, statements

CROISSANT_FILE = "croissant.json"
VERSION = "http://mlcommons.org/croissant/1.1"
_RAI = "http://mlcommons.org/croissant/RAI/1.0"
_HOME = "https://huggingface.co/datasets"
_NO_HASH = (
    "https://github.com/mlcommons/croissant/issues/80"  # what the Hub writes for a git repository, which has no hash
)
# The context of the specification, appendix 1, with the prefixes of rai, prov and usage.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "excludes": "cr:excludes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "value": "cr:value",
    "annotation": "cr:annotation",
    "sdVersion": "cr:sdVersion",
    "usageInfo": "sc:usageInfo",
}
_TYPES = {
    "string": "sc:Text",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "double": "cr:Float64",
    "bool": "sc:Boolean",
    "timestamp[us, tz=UTC]": "sc:DateTime",
}


def croissant(facts: Facts) -> bytes:
    """The text of croissant.json."""
    recipe = RecipeText.parse(facts["recipe"].only["recipe"])
    release, own = facts["release"].only, licence(facts)
    told = own.link if own.identifier == "other" and web_url(own.link) else licence_url(own.identifier)
    unpublished = (
        f"urn:captionlake:{quote(facts.name)}:{facts.version}:{release['content_sha256']}"  # which has no page
    )
    home = f"{_HOME}/{facts.repo}" if facts.repo else unpublished
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [VERSION, _RAI],
        "name": facts.label.replace("@", "-"),
        "alternateName": pretty_name(facts, recipe),
        "description": description(facts),
        "url": home,
        "version": facts.version,
        "datePublished": release["created_on"],
        "dateCreated": release["created_on"],
        "license": told or f"{own.name or own.identifier}: see LICENSE.md",
        "citeAs": citation(facts, pretty_name(facts, recipe)),
        "keywords": list(TAGS),
        "inLanguage": recipe.language,
        "isLiveDataset": False,
        "creator": {"@type": "sc:Organization", "name": facts.repo.partition("/")[0] if facts.repo else facts.name},
        "publisher": {"@type": "sc:Organization", "name": facts.repo.partition("/")[0] if facts.repo else facts.name},
        "identifier": f"sha256:{release['content_sha256']}",
        "distribution": list(_distribution(facts.files, facts)),
        "recordSet": [_records(facts)],
        **statements(facts),
    }
    kept = {key: value for key, value in document.items() if value not in (None, [], "")}
    return (json.dumps(kept, ensure_ascii=False, indent=2) + "\n").encode()


def problems(path: Path) -> list[str] | None:
    """What mlcroissant finds wrong in a croissant.json; None where mlcroissant is not installed."""
    try:
        import mlcroissant
    except ImportError:
        return None
    try:
        issues = mlcroissant.Dataset(jsonld=str(path)).metadata.ctx.issues
    except (mlcroissant.ValidationError, ValueError, OSError) as error:
        return [" ".join(str(error).split())[:500]]
    return sorted({*issues.errors, *issues.warnings})


def _distribution(listed: Iterable[File], facts: Facts) -> Iterable[dict[str, Any]]:
    """Each file with its hash, and all of them as the set that records are read from: out of the repository, or beside this file."""
    base = f"{_HOME}/{facts.repo}/resolve/v{facts.version}/" if facts.repo else ""
    for file in listed:
        yield {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "description": f"{file.rows:,} rows of the split {file.split}",
            "contentUrl": f"{base}{file.path}",
            "contentSize": f"{file.n_bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file.sha256,
        }
    if facts.repo:
        yield {
            "@type": "cr:FileObject",
            "@id": "repo",
            "name": "repo",
            "description": "The repository on the Hugging Face Hub, at the tag of this version.",
            "contentUrl": f"{_HOME}/{facts.repo}/tree/v{facts.version}",
            "encodingFormat": "git+https",
            "sha256": _NO_HASH,
        }
    yield {
        "@type": "cr:FileSet",
        "@id": "parquet-files",
        "name": "parquet-files",
        "description": "The Parquet files of the release.",
        **({"containedIn": {"@id": "repo"}} if facts.repo else {}),
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }


def _records(facts: Facts) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "description": f"The rows of {facts.label}, in the order of their position.",
        "field": [
            _field("rows", column, field(column.name, conversational=facts.conversational))
            for column in schema_of(facts)
        ],
    }


def _field(above: str, column: pa.Field, description: str) -> dict[str, Any]:
    """A column. Of a list of structures each part is a subfield that repeats."""
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{above}/{column.name}",
        "name": f"{above}/{column.name}",
        "description": description,
        "source": {"fileSet": {"@id": "parquet-files"}, "extract": {"column": column.name}},
    }
    kind = column.type
    if _is_picture(kind):
        found["source"]["transform"] = {"jsonPath": "bytes"}
        return found | {"dataType": "sc:ImageObject"}
    if not pa.types.is_list(kind):
        return found | {"dataType": _TYPES.get(str(kind), "sc:Text")}
    inner = kind.value_type
    many = {"repeated": True, "isArray": True, "arrayShape": "-1"}
    if _is_picture(inner):
        found["source"]["transform"] = {"jsonPath": "bytes"}
        return found | many | {"dataType": "sc:ImageObject"}
    if not pa.types.is_struct(inner):
        return found | many | {"dataType": _TYPES.get(str(inner), "sc:Text")}
    source = found.pop("source")
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{found['@id']}/{part.name}",
            "name": f"{found['@id']}/{part.name}",
            "dataType": _TYPES.get(str(part.type), "sc:Text"),
            "source": source | {"transform": {"jsonPath": part.name}},
        }
        for part in inner
    ]
    return found | many | {"subField": parts}


def _is_picture(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and [part.name for part in kind] == ["bytes", "path"]
