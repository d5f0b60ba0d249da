"""Batches of one shape: every picture once, none too large, whatever shapes come in which order."""

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.running.engine import Ready, Written
from captionlake.models.running.writing import Failure, Job, batched


class Shapes:
    """An engine that writes down which batches it got; the text of a picture is its number."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[list[Ready]] = []

    def ready(self, picture: object) -> Ready:
        raise NotImplementedError

    def write(self, batch: Sequence[Ready]) -> list[Written]:
        self.batches.append(list(batch))
        return [Written("" if one.inputs % 7 == 3 else str(one.inputs), 1, 1, "stop") for one in batch]


@given(st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=80), st.integers(1, 9))
def test_batches(shapes: list[int | None], batch_size: int) -> None:
    """None stands for a picture that cannot be read."""

    def prepared() -> Iterator[tuple[Job, Ready | Failure]]:
        for number, shape in enumerate(shapes):
            given = Failure("bad_picture", "") if shape is None else Ready(number, shape)
            yield Job(str(number), "", None), given

    engine = Shapes(batch_size)
    results = dict(batched(engine, prepared()))
    assert {job.caption_id for job in results} == {str(number) for number in range(len(shapes))}
    for job, result in results.items():
        number = int(job.caption_id)
        if shapes[number] is None:
            assert result == Failure("bad_picture", "")
        elif number % 7 == 3:
            assert isinstance(result, Failure) and result.reason == "empty"
        else:
            assert isinstance(result, Written) and result.text == job.caption_id
    for batch in engine.batches:
        assert 1 <= len(batch) <= batch_size and len({one.shape for one in batch}) == 1
    if len({shape for shape in shapes if shape is not None}) == 1:  # as with either family: all but the last are full
        assert all(len(batch) == batch_size for batch in engine.batches[:-1])
