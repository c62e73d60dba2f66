"""The registered rules of judging."""

from __future__ import annotations

import pytest

from replication.catalog import CONFIGS, load_judging
from replication.errors import ConfigError


def test_the_shipped_rules():
    rules = load_judging()
    assert (rules.alpha, rules.cut, rules.power, rules.min_runs) == (0.05, 0.5, 0.8, 3)
    assert rules.estimand == "new images"
    assert rules.replicates >= 2000, "the standard error of an interval is then good to 1.6%"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("alpha: 0.05", "alpha: 5", "alpha: Input should be less than 1"),
        ("estimand: new images", "estimand: both", "estimand: Input should be 'new images' or 'this benchmark'"),
        ("min_runs: 3", "min_runs: 1", "min_runs: Input should be greater than or equal to 2"),
        ("replicates: 2000", "replicate: 2000", "replicates: Field required"),
    ],
)
def test_a_wrong_rule_is_named_with_its_file(old, new, words, tmp_path):
    text = (CONFIGS / "verdicts.yaml").read_text()
    assert old in text
    (tmp_path / "verdicts.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_judging(tmp_path)
    assert str(tmp_path / "verdicts.yaml") in str(error.value)
    assert words in str(error.value)
