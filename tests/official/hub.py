"""The Hub's image form: Parquet with a column of structs ``bytes, path``, declared as an image in the file's metadata."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def lay_out(folder: Path, pictures: Sequence[bytes]) -> Path:
    """Write one file with the columns ``image`` and ``text`` into ``folder``."""
    folder.mkdir(parents=True)
    images = [{"bytes": picture, "path": f"{number}.jpg"} for number, picture in enumerate(pictures)]
    table = pa.table(
        {
            "image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "text": [f"Words for picture {number}" for number in range(len(pictures))],
        }
    )
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    path = folder / "train-00000-of-00001.parquet"
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(told), path, row_group_size=100)
    return path
