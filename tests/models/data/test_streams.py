"""Streams: what each rank and worker gives, and that a run that goes on sees what it would have seen."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from captionlake.errors import CaptionlakeError
from captionlake.models.data import Order, ReleaseData, ReleaseDataset, ReleaseStream, Sample
from captionlake.models.data.order import Part


@pytest.fixture(scope="module")
def data(made: Path) -> ReleaseData:
    return ReleaseData.open(made / "lake", "tiles@1.0.0")


def position(sample: Sample) -> int:
    return sample.position


def stream(data: ReleaseData, **order: Any) -> ReleaseStream:
    return ReleaseStream(data, position, Order(**({"rank": 0, "world_size": 1} | order)))


def test_each_sample_once_an_epoch_in_another_order(data: ReleaseData) -> None:
    one = stream(data)
    epochs = []
    for epoch in range(3):
        one.set_epoch(epoch)
        epochs.append(list(one))
    everything = [data[i].position for i in range(38)]
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert len({tuple(epoch) for epoch in [*epochs, everything]}) == 4
    again = stream(data)
    again.set_epoch(2)
    assert list(again) == epochs[2] == list(again)
    assert list(stream(data, shuffle=False)) == everything
    assert list(stream(data, seed=1)) != epochs[0]


@given(st.integers(1, 9), st.sampled_from(["drop", "pad"]), st.integers(1, 7), st.integers(0, 3), st.booleans())
@settings(max_examples=30)
def test_ranks_and_workers_share_the_samples(
    data: ReleaseData, world: int, uneven: Any, batch: int, workers: int, shuffle: bool
) -> None:
    orders = [Order(rank=r, world_size=world, uneven=uneven, batch_size=batch, shuffle=shuffle) for r in range(world)]
    ranks = [list(ReleaseStream(data, position, order)) for order in orders]
    assert {len(rank) for rank in ranks} == {38 // world if uneven == "drop" else -(-38 // world)}
    seen = [one for rank in ranks for one in rank]
    if uneven == "drop":
        assert len(set(seen)) == len(seen)
    else:
        assert len(set(seen)) == 38 and len(seen) - 38 < world
    parts = [Part(len(ranks[0]), worker, max(workers, 1), batch) for worker in range(max(workers, 1))]
    places = np.concatenate([part.of_rank(0, len(part)) for part in parts])
    assert sorted(places.tolist()) == list(range(len(ranks[0])))


def test_batches_are_the_same_for_any_number_of_workers(data: ReleaseData) -> None:
    batches = {
        workers: list(
            map(tuple, DataLoader(stream(data, batch_size=4), batch_size=4, num_workers=workers, collate_fn=tuple))
        )
        for workers in (0, 1, 2)
    }
    assert batches[0] == batches[1] == batches[2] and len(batches[0]) == 10


def test_an_epoch_reaches_workers_that_live_on(data: ReleaseData) -> None:
    one = stream(data)
    loader = DataLoader(one, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=list)
    epochs = []
    for epoch in (0, 1):
        one.set_epoch(epoch)
        epochs.append([p for batch in loader for p in batch])
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]


def loader(data: ReleaseData, kind: str, workers: int, batch: int, epoch: int) -> StatefulDataLoader[Any]:
    if kind == "stream":
        one = stream(data, batch_size=batch)
        one.set_epoch(epoch)
        return StatefulDataLoader(one, batch_size=batch, num_workers=workers, collate_fn=list)
    return StatefulDataLoader(
        ReleaseDataset(data, position), batch_size=batch, num_workers=workers, collate_fn=list, shuffle=True
    )


def states(given: StatefulDataLoader[Any]) -> Iterator[tuple[list[int], dict[str, Any]]]:
    for batch in given:
        yield batch, copy.deepcopy(given.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["stream", "map"])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(data: ReleaseData, kind: str, workers: int) -> None:
    """From each third batch of an epoch, in a process that has seen nothing of it."""
    whole = list(states(loader(data, kind, workers, 4, 5)))
    batches = [batch for batch, _ in whole]
    assert sorted(p for batch in batches for p in batch) == [data[i].position for i in range(38)]
    for stop in range(0, 10, 3) if workers else range(10):
        again = loader(data, kind, workers, 4, 0 if stop % 2 else 5)  # the state knows its epoch
        again.load_state_dict(copy.deepcopy(whole[stop][1]))
        assert list(again) == batches[stop + 1 :], stop


@given(st.integers(0, 38), st.integers(1, 3), st.integers(0, 2**30), st.integers(0, 5))
@settings(max_examples=30)
def test_a_stream_alone_goes_on(data: ReleaseData, stop: int, world: int, seed: int, epoch: int) -> None:
    for rank in range(world):
        one = stream(data, rank=rank, world_size=world, seed=seed)
        one.set_epoch(epoch)
        whole = list(one)
        stop = min(stop, len(whole))
        half = iter(one)
        assert [next(half) for _ in range(stop)] == whole[:stop]
        again = stream(data, rank=rank, world_size=world, seed=seed)
        again.load_state_dict(one.state_dict())
        assert again.state_dict() == one.state_dict()
        assert list(again) == whole[stop:]
        again.set_epoch(epoch)
        assert list(again) == whole  # the next one is whole again


def test_a_state_after_the_end_begins_the_next_epoch(data: ReleaseData) -> None:
    for workers in (0, 2):
        first = loader(data, "stream", workers, 4, 0)
        list(first)
        again = loader(data, "stream", workers, 4, 1)
        again.load_state_dict(first.state_dict())
        assert list(again) == list(loader(data, "stream", workers, 4, 1))


@pytest.mark.parametrize("change", [{"seed": 1}, {"shuffle": False}, {"world_size": 2}, {"batch_size": 2}])
def test_a_state_of_another_order_is_refused(data: ReleaseData, change: dict[str, Any]) -> None:
    with pytest.raises(CaptionlakeError, match=f"the state is of a run with {next(iter(change))} "):
        stream(data, **change).load_state_dict(stream(data).state_dict())


def test_a_state_of_another_release_or_number_of_workers_is_refused(made: Path, data: ReleaseData) -> None:
    other = ReleaseData.open(made / "lake", "tiles@2.0.0", split=None)
    with pytest.raises(CaptionlakeError, match="content_sha256"):
        stream(other).load_state_dict(stream(data).state_dict())
    one = stream(data)
    one.load_state_dict(stream(data).state_dict() | {"workers": 2})
    with pytest.raises(CaptionlakeError, match="go on with as many workers"):
        iter(one)


def test_ranks_of_the_environment(monkeypatch: pytest.MonkeyPatch, data: ReleaseData) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (Order().rank, Order().world_size) == (1, 3)
    for wrong in ({"rank": 1}, {"rank": 2, "world_size": 2}, {"batch_size": 0}, {"uneven": "some"}):
        with pytest.raises(CaptionlakeError, match="order"):
            Order(**wrong)
    with pytest.raises(CaptionlakeError, match="38 samples are too few for 39 ranks"):
        len(stream(data, world_size=39))
    assert len(stream(data, world_size=39, uneven="pad")) == 1
