"""Benchmarks' files as they are published, from pictures given as bytes."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

Pictures = Mapping[str, bytes]


def mme(root: Path, pictures: Pictures) -> Path:
    """MME: the first half beside their questions (``existence``), the others in ``images`` and ``questions_answers_YN``."""
    names = sorted(pictures)
    for number, name in enumerate(names):
        if number < (len(names) + 1) // 2:
            picture = root / "existence" / f"{name}.jpg"
            text = root / "existence" / f"{name}.txt"
        else:
            picture = root / "artwork" / "images" / f"{name}.jpg"
            text = root / "artwork" / "questions_answers_YN" / f"{name}.txt"
        for path in (picture, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(pictures[name])
        asked = [f"Is there a {thing} in this image? Please answer yes or no." for thing in ("cat", "piano")]
        text.write_text(f"{asked[0]}\tYes\n{asked[1]}\tNo\n")
    return root


def mmbench(path: Path, pictures: Pictures) -> Path:
    """MMBench's TSV as pandas writes it, in the circular form: rows from 1000000 on show the picture of a row before."""
    rows = []
    for number, name in enumerate(sorted(pictures)):
        index = 241 + number
        row = {"index": index, "question": f'What is\n"{name}"?\tChoose.', "hint": None, "A": "a cat", "B": "a cup"}
        row |= {"C": None, "D": None, "answer": "A", "category": "object_localization"}
        image = base64.b64encode(pictures[name]).decode()
        rows.append(row | {"image": image, "source": "made", "l2-category": "x", "split": "dev"})
        circular = {"index": 1_000_000 + index, "image": str(index), "A": "a cup", "B": "a cat", "answer": "B"}
        rows.append(row | circular | {"source": "made", "l2-category": "x", "split": "dev"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
    return path


def seed_bench(root: Path, pictures: Pictures) -> Path:
    """SEED-Bench: two questions a picture, a question on a video, pictures without a suffix."""
    folder = root / "SEED-Bench-image"
    folder.mkdir(parents=True)
    questions = []
    for number, (name, data) in enumerate(sorted(pictures.items())):
        (folder / f"{number}_{name}").write_bytes(data)
        for part in range(2):
            question = {"answer": "A", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four"}
            question |= {"data_id": f"{number}_{name}", "data_type": "image", "question": "How many?"}
            questions.append(question | {"question_id": str(101_000 + 2 * number + part), "question_type_id": 5})
    video = {
        "answer": "B",
        "data_id": "P01_01.MP4",
        "data_type": "video",
        "question": "What next?",
        "segment": [1.5, 2],
    }
    video |= {"choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four"}
    questions.append(video | {"question_id": "v9", "question_type_id": 11})
    document = {"question_type": {"Scene Understanding": 1}, "questions": questions}
    (root / "SEED-Bench.json").write_text(json.dumps(document))
    return root


def mm_vet(root: Path, pictures: Pictures) -> Path:
    """MM-Vet: ``mm-vet.json`` and ``images``."""
    (root / "images").mkdir(parents=True)
    samples = {}
    for number, (_, data) in enumerate(sorted(pictures.items())):
        (root / "images" / f"v1_{number}.png").write_bytes(data)
        sample = {"imagename": f"v1_{number}.png", "question": "What is x?", "answer": "-1<AND>-5"}
        samples[f"v1_{number}"] = sample | {"imagesource": "made", "capability": ["ocr", "math"]}
    (root / "mm-vet.json").write_text(json.dumps(samples, indent=4))
    return root


def llava_wild(root: Path, pictures: Pictures) -> Path:
    """LLaVA-Bench (In-the-Wild): ``questions.jsonl``, ``context.jsonl``, ``answers_gpt4.jsonl`` and ``images``."""
    (root / "images").mkdir(parents=True)
    questions, contexts, references = [], [], []
    for number, (name, data) in enumerate(sorted(pictures.items())):
        (root / "images" / f"{number:03d}.jpg").write_bytes(data)
        for part, category in enumerate(("conv", "detail")):
            row = {"question_id": 2 * number + part, "image": f"{number:03d}.jpg", "text": f"What is {name}?"}
            questions.append(json.dumps(row | {"category": category}))
            reference = {"question_id": row["question_id"], "text": f"A made-up answer about {name}."}
            references.append(json.dumps(reference | {"answer_id": "x", "model_id": "gpt-4", "metadata": {}}))
        contexts.append(json.dumps({"id": f"{number:03d}", "image": f"{number:03d}.jpg", "caption": name}))
    (root / "questions.jsonl").write_text("\n".join(questions) + "\n")
    (root / "context.jsonl").write_text("\n".join(contexts) + "\n")
    (root / "answers_gpt4.jsonl").write_text("\n".join(references) + "\n")
    return root


def pope(root: Path, pictures: Pictures) -> Path:
    """POPE: ``coco_pope_random.json`` and so on, JSON lines with two questions a picture, and the pictures in ``val2014``."""
    (root / "val2014").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for number, (_, data) in enumerate(sorted(pictures.items())):
        name = f"COCO_val2014_{number:012d}.jpg"
        (root / "val2014" / name).write_bytes(data)
        for thing, label in (("cat", "yes"), ("umbrella", "no")):
            text = f"Is there {'an' if thing[0] == 'u' else 'a'} {thing} in the image?"
            rows.append({"question_id": len(rows) + 1, "image": name, "text": text, "label": label})
    for setting in ("random", "popular", "adversarial"):
        (root / f"coco_pope_{setting}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root
