"""What the fuzzer is given to begin with, and what it has ever found, without the fuzzer."""

import pathlib

import pytest

from tests.fuzz import targets

FOUND = sorted((pathlib.Path(__file__).parent / "found").glob("*/*"))


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_seeds_are_sound(name: str) -> None:
    """A target that fails on a recorded run is itself at fault."""
    seeds = list(targets.TARGETS[name].seeds())
    assert len(seeds) > 5
    for seed in seeds:
        targets.TARGETS[name].check(seed)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: pathlib.Path) -> None:
    """Files are named after what was wrong."""
    targets.TARGETS[path.parent.name].check(path.read_bytes())


def test_chunks_make_up_the_whole() -> None:
    """Or the comparison of two ways to cut would prove nothing."""
    for seed in targets.stream_seeds():
        assert b"".join(targets.chunked(seed)) == seed
