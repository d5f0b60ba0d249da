"""Benchmarks' own files: which pictures they test with, each item by its name."""

from captionlake.curation.benchmarks.benchmark import Benchmark, Item
from captionlake.curation.benchmarks.known import benchmarks_in

__all__ = ["Benchmark", "Item", "benchmarks_in"]
