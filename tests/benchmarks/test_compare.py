"""The guard against programs that became slower."""

import json

import pytest

from benchmarks import compare


def test_ratios_to_a_stored_baseline_and_to_another_checkout():
    stored = {"a": {"median": 2.0, "min": 1.0, "max": 3.0}}
    assert compare.ratios_of({"a": [[3.0], [1.0]], "new": [[1.0]]}, stored) == {"a": [1.5, 0.5]}
    assert compare.ratios_of({"a": [[3.0, 2.0], [1.0, 4.0]]}, {}) == {"a": [1.5, 0.25]}


def test_slower_is_what_every_round_says():
    assert compare.slower({"a": [1.2, 1.11], "b": [1.5, 1.09], "c": [0.9]}, 0.1) == ["a"]


def test_every_case_has_a_baseline():
    for found in json.loads(compare.BASELINE.read_text()).values():
        assert set(found) == set(compare.CASES)


def test_unknown_cases_and_revisions_are_named():
    with pytest.raises(SystemExit, match="--cases=nothing: it is one of training StyleGAN2"):
        compare.main(["compare", "--cases=nothing"])
    with pytest.raises(SystemExit, match="--against=no-such-revision"):
        compare.main(["compare", "--against=no-such-revision", "--cases=training DCGAN"])
