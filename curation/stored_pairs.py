"""The pairs of the lake that count for a selection; refuses to go on where some could be missing."""

from dataclasses import dataclass

import polars as pl

from captionlake.curation.candidates import frame
from captionlake.curation.group_rows import stored_groups
from captionlake.curation.groups import Groups
from captionlake.curation.hash_pairs import MODEL, hash_pairs_complete, similarity_of
from captionlake.curation.links import COSINE, SAME_VECTOR
from captionlake.curation.select_config import SelectConfig
from captionlake.curation.similarity import pairs_complete
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

_PAIR = {"image_id": pl.String, "other_id": pl.String, "similarity": pl.Float64, "method": pl.String}


@dataclass(frozen=True, slots=True)
class Known:
    """``pairs``: image_id, other_id, similarity, method; ``groups``, within which pairs are not listed."""

    pairs: pl.DataFrame
    groups: Groups | None


def known_pairs(lake: Lake, config: SelectConfig, model_id: str | None, snapshot: int, pictures: pl.Series) -> Known:
    """Pairs by cosine at or above the threshold, and by perceptual hash within the distance, that the recipe asks for."""
    parts, groups = [pl.DataFrame(schema=_PAIR)], None
    version = f"AT (VERSION => {snapshot:d})"
    query = f"SELECT image_id, other_id, similarity, method FROM lake.similar_pairs {version} WHERE model_id = ? AND similarity >= ?"
    if config.duplicate_phash is not None:
        if not hash_pairs_complete(lake, config.duplicate_phash, snapshot):
            raise CaptionlakeError(
                f"pairs of perceptual hashes within {config.duplicate_phash} bits are not all known: run  "
                f"captionlake dedupe --phash-distance {config.duplicate_phash}  first"
            )
        parts.append(frame(lake, query, [MODEL, similarity_of(config.duplicate_phash)]))
    if config.duplicate_threshold is not None and model_id is not None:
        embedded = frame(lake, f"SELECT image_id FROM lake.embeddings {version} WHERE model_id = ?", [model_id])
        missing = pictures.unique().to_frame().join(embedded, on="image_id", how="anti").height
        if missing:
            raise CaptionlakeError(
                f"{missing:,} pictures have no embedding by {model_id}: run  captionlake embed  first"
            )
        if not pairs_complete(lake, model_id, config.duplicate_threshold, snapshot):
            raise CaptionlakeError(
                f"similar pairs of {model_id} at {config.duplicate_threshold} are not all known: run  "
                f"captionlake dedupe --threshold {config.duplicate_threshold}  first"
            )
        listed = f"{query} AND list_contains(?, method)"
        parts.append(frame(lake, listed, [model_id, config.duplicate_threshold, [COSINE, SAME_VECTOR]]))
        groups = stored_groups(lake, model_id, config.duplicate_threshold, snapshot)
    return Known(pl.concat(parts), groups)
