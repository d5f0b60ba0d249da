"""The order of fine-tuning."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.lmm import ModalityLengthSampler

_rows = st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=120)


def _sampler(rows: list[tuple[int, bool]], step: int, seed: int = 0) -> ModalityLengthSampler:
    lengths = np.array([length for length, _ in rows], np.int64)
    pictured = np.array([picture for _, picture in rows], np.bool_)
    return ModalityLengthSampler(lengths, pictured, step_samples=step, seed=seed)


@given(rows=_rows, step=st.integers(1, 16), seed=st.integers(0, 9))
def test_each_index_once_and_each_step_of_one_modality(rows: list[tuple[int, bool]], step: int, seed: int) -> None:
    sampler = _sampler(rows, step, seed)
    order = list(sampler)
    assert sorted(order) == list(range(len(rows))) and len(sampler) == len(rows)
    whole = sum(sum(picture is kind for _, picture in rows) // step for kind in (True, False))
    for group in range(whole):
        taken = [rows[index] for index in order[group * step : (group + 1) * step]]
        assert len({picture for _, picture in taken}) == 1
        assert taken == sorted(taken, key=lambda row: -row[0])
    assert len(order) - whole * step < 2 * step  # the rest of both modalities


@given(rows=_rows, step=st.integers(1, 16))
def test_seed_and_epoch_alone_make_the_order(rows: list[tuple[int, bool]], step: int) -> None:
    sampler = _sampler(rows, step, seed=3)
    first = list(sampler)
    assert list(sampler) == first == list(_sampler(rows, step, seed=3))
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first and sorted(second) == sorted(first)


def test_epochs_and_seeds_differ_and_modalities_mix() -> None:
    rows = [(length % 97, length % 3 == 0) for length in range(600)]
    sampler = _sampler(rows, 10)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first != list(_sampler(rows, 10, seed=1))
    kinds = [rows[index][1] for index in first[::10]]
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    assert changes > 10  # groups of both kinds come in turn, not one kind after the other


def test_padding_is_less_than_in_a_random_order() -> None:
    chance = np.random.default_rng(0)
    rows = [(int(length), False) for length in chance.integers(10, 1000, 640)]
    lengths = np.array([length for length, _ in rows])

    def padded(order: list[int]) -> int:
        return int(lengths[order].reshape(-1, 8).max(axis=1).sum() * 8)

    assert padded(list(_sampler(rows, 64))) < 0.75 * padded(list(range(640)))
