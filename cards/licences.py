"""Licences: from the words that sources use to the Hub's identifiers, and the one that binds most.

The identifiers are those that the Hub's own check of a card accepts (its message lists them; huggingface_hub issue 4218).
"""

import re
from collections.abc import Iterable

_IDENTIFIERS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
    artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c
    ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown other
"""
HUB_LICENCES = frozenset(_IDENTIFIERS.split())
_FREE = frozenset({"cc0-1.0", "pddl", "unlicense", "wtfpl"})  # ask for nothing
_CC = re.compile(r"cc-(?P<terms>by(?:-(?:nc|sa|nd))*)-(?P<version>\d\.\d)")
_CC_URL = re.compile(r"creativecommons\.org/licenses/(?P<terms>[a-z-]+)/(?P<version>\d\.\d)")
_CC0_URL = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0")
_SPDX = {
    name: f"https://spdx.org/licenses/{spdx}.html"
    for name, spdx in {"apache-2.0": "Apache-2.0", "mit": "MIT", "unlicense": "Unlicense", "odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0",
                       "pddl": "PDDL-1.0", "cdla-permissive-2.0": "CDLA-Permissive-2.0"}.items()
}  # fmt: skip
_NAMES = {
    "apache 2.0": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "mit license": "mit",
    "the unlicense": "unlicense",
}


def hub_licence(text: str | None) -> str | None:
    """The Hub's identifier of a licence, or None where the text is not one for certain."""
    if text is None:
        return None
    plain = " ".join(text.lower().split())
    if plain in HUB_LICENCES - {"other", "unknown", "cc"}:
        return plain
    if _CC0_URL.search(plain) or re.fullmatch(r"cc[- ]?0(?:[- ]?1\.0)?(?: universal)?", plain):
        return "cc0-1.0"
    found = _CC_URL.search(plain) or _CC.fullmatch(re.sub(r"[\s_]+", "-", plain.replace("creative commons", "cc")))
    if found:
        terms = "-".join(term for term in ("by", "nc", "sa", "nd") if term in found["terms"].split("-"))
        identifier = f"cc-{terms}-{found['version']}"
        return identifier if identifier in HUB_LICENCES else None
    return _NAMES.get(plain)


def binding_licence(texts: Iterable[str | None]) -> str | None:
    """The one licence whose terms hold all the others', or None: where one is unknown, or where two do not contain each other.

    Only Creative Commons' and public-domain licences are compared; equal terms in two versions do not contain each other.
    """
    found = {hub_licence(text) for text in texts}
    if None in found or not found:
        return None
    licences = {licence for licence in found if licence is not None}
    if len(licences) == 1:
        return next(iter(licences))
    terms = {licence: _terms(licence) for licence in licences}
    for licence, own in terms.items():
        others = [other for name, other in terms.items() if name != licence]
        if own is not None and all(other is not None and other < own for other in others):
            return licence
    return None


def _terms(licence: str) -> frozenset[str] | None:
    if licence in _FREE:
        return frozenset()
    found = _CC.fullmatch(licence)
    return frozenset(found["terms"].split("-")) if found else None


def slug(text: str) -> str:
    """A name for ``license_name``: lower-case letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:60].strip("-.") or "other"


def licence_url(identifier: str) -> str | None:
    """The page of one of the Hub's identifiers: Creative Commons', or SPDX's; None where neither has one."""
    if identifier == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    if found := _CC.fullmatch(identifier):
        return f"https://creativecommons.org/licenses/{found['terms']}/{found['version']}/"
    return _SPDX.get(identifier)
