"""The order of a run's samples."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.training.order import RunOrder, shuffled


@given(samples=st.integers(1, 60), batch=st.integers(1, 12), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_an_epoch_has_every_sample_and_only_whole_steps(samples: int, batch: int, epochs: int, seed: int) -> None:
    steps = -(-samples // batch)
    order = RunOrder(shuffled(samples, seed), batch, steps * epochs)
    indices = list(order)
    assert len(indices) == len(order) == steps * epochs * batch
    for epoch in range(epochs):
        own = indices[epoch * steps * batch : (epoch + 1) * steps * batch]
        assert set(own) == set(range(samples))
        assert len(set(own[:samples])) == samples  # what fills the last step up comes again, from the epoch's beginning
        assert own[samples:] == np.resize(own[:samples], len(own))[samples:].tolist()


@given(stop=st.integers(1, 30))
def test_a_shorter_run_is_the_beginning_of_a_longer_one(stop: int) -> None:
    long, short = (list(RunOrder(shuffled(17, 3), 4, steps)) for steps in (30, stop))
    assert long[: stop * 4] == short


def test_epochs_and_seeds_differ() -> None:
    first, second = (list(RunOrder(shuffled(50, seed), 50, 2)) for seed in (0, 1))
    assert first[:50] != first[50:] and first != second
    assert Counter(first) == Counter(second)
