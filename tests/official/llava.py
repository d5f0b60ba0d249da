"""LCS as LLaVA ships it (LLaVA-Pretrain on the Hub): 558,128 pictures of LAION, CC3M and SBU with captions by BLIP.

``blip_laion_cc_sbu_558k.json`` is the conversation file, ``…_meta.json`` has the address and BLIP's words of each picture,
and ``images.zip`` the pictures as ``00453/004539375.jpg``, the folder being the first digits of the name. The toy's texts
and addresses are made up.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

LIST = "blip_laion_cc_sbu_558k.json"
META = "blip_laion_cc_sbu_558k_meta.json"
_QUESTIONS = (
    "Render a clear and concise summary of the photo.\n<image>",
    "<image>\nWrite a terse but informative summary.",
)


def names(count: int) -> list[str]:
    """The paths of the first ``count`` pictures."""
    numbers = [4_539_375 + 7_919 * number for number in range(count)]
    return [f"{number // 1000:05d}/{number:09d}.jpg" for number in numbers]


def lay_out(folder: Path, pictures: Sequence[bytes], *, lost: int = 0) -> list[str]:
    """Write the three files into ``folder``. Returns the paths; the zip lacks the last ``lost`` pictures."""
    folder.mkdir(parents=True)
    paths = names(len(pictures))
    texts = [f"blip words of picture {number}" for number in range(len(paths))]
    ids = [Path(path).stem for path in paths]
    chats = [
        {
            "id": key,
            "image": path,
            "conversations": [
                {"from": "human", "value": _QUESTIONS[number % 2]},
                {"from": "gpt", "value": texts[number]},
            ],
        }
        for number, (key, path) in enumerate(zip(ids, paths, strict=True))
    ]
    metas = [
        {"id": key, "image": path, "url": f"https://pictures.invalid/{key}.jpg", "blip_caption": text}
        for key, path, text in zip(ids, paths, texts, strict=True)
    ]
    (folder / LIST).write_text(json.dumps(chats, indent=2))
    (folder / META).write_text(json.dumps(metas))
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for path, picture in list(zip(paths, pictures, strict=True))[: len(paths) - lost]:
            archive.writestr(path, picture)
    return paths
