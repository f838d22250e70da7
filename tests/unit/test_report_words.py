"""What the report says in sentences: every figure stands in a table, and the limit is the one that was built in."""

from __future__ import annotations

import random
import re

import pytest
from scaling_records import measurement, repetition, results, shown

from hpcdl.records import Results
from hpcdl.report.content import Content
from hpcdl.report.series import group
from hpcdl.report.summary import summary


def told(study: Results) -> str:
    return " ".join(summary(group(study.results)))


def numbers(words: str) -> set[str]:
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?", words))


def cells(content: Content) -> str:
    return " ".join(cell for table in content.tables()[:3] for row in table.rows for cell in row)


@pytest.mark.parametrize("seed", range(24))
def test_summary_is_short_and_each_of_its_figures_is_in_a_table(seed: int) -> None:
    pick = random.Random(seed)
    study = results(
        engines=pick.sample(["horovod", "mpi"], pick.randint(1, 2)),
        ranks=sorted(pick.sample([1, 2, 3, 4, 6, 8], pick.randint(1, 3))),
        repeats=pick.choice([1, 2, 3]),
        sources=pick.choice([["real"], ["stand-in"], ["real", "synthetic"]]),
        mode=pick.choice(["weak", "strong"]),
        cores=pick.choice([2, 8, 16]),
        loss=pick.choice([0.0, 0.005, 0.02]),
        compute=pick.choice([0.05, 0.5]),
        uneven=pick.choice([0.0, 0.06]),
        gpu=pick.random() < 0.5,
    )
    content = shown(study)
    sentences = summary(content.series)
    assert len(sentences) <= 5
    assert numbers(" ".join(sentences).replace("cifar10-cnn", "")) <= numbers(cells(content)) | {"95"}


def test_base_gain_and_peer_are_told_with_their_verdicts() -> None:
    words = told(results(engines=("mpi",), ranks=(1, 4)))
    for part in (
        "this is the base",
        "times the base",
        "the 95 % intervals do not overlap",
        "synthetic ones are random",
    ):
        assert part in words
    assert "not distinguishable from mpi" in told(results(engines=("mpi", "horovod")))
    assert "not distinguishable" in told(results(engines=("mpi",), ranks=(1, 2), loss=0.1))


def test_ideal_scaling_has_no_limit_but_may_leave_hardware_unused() -> None:
    words = told(results(engines=("mpi",), cores=4, loss=0.0, sources=["real"]))
    assert "no single limit stands out." in words
    assert "100.0 %" in words and "Images" not in words
    words = told(results(engines=("mpi",), cores=16, loss=0.0))
    assert "but hardware is unused: 4 compute threads for 16 cores" in words
    words = told(results(engines=("mpi",), cores=16, loss=0.0, gpu=True))
    assert "but hardware is unused: GPUs are busy for 60.0 % of the time" in words


def test_communication_is_named_as_the_limit() -> None:
    words = told(results(engines=("mpi",), cores=16))
    assert "what limits is communication: 60.0 ms a step against 0.00 ms at the base" in words


def test_imbalance_is_named_where_the_wait_is_for_the_slowest_rank() -> None:
    words = told(
        results(engines=("mpi",), cores=16, loss=0.001, uneven=0.06)
    )  # (0.163 x 1.02 - 0.003) / (0.163 x 1.02 - 0.063)
    assert "what limits is imbalance: the slowest rank takes 1.58 times the median rank's time" in words


@pytest.mark.parametrize(
    ("part", "words"),
    [("input", "a slow stage, the wait for input"), ("other", "fixed costs, the update and Python")],
)
def test_a_slow_stage_and_fixed_costs_are_named(part: str, words: str) -> None:
    base = measurement([repetition(at, 1, 64, 0.1, 0.0) for at in range(3)], None, cores=4)
    top = measurement([repetition(at, 2, 128, 0.2, 0.0) for at in range(3)], base, cores=4)
    seconds = top.step_seconds
    moved = {"compute": base.step_seconds.compute, part: getattr(seconds, part) + 0.1}
    slow = top.model_copy(update={"step_seconds": seconds.model_copy(update=moved)})
    study = results().model_copy(update={"results": [base, slow]})
    assert f"what limits is {words}" in told(study)


def test_strong_scaling_with_compute_that_does_not_shrink_has_fixed_costs() -> None:
    base = measurement([repetition(at, 1, 128, 0.1, 0.0) for at in range(3)], None, mode="strong", cores=4)
    top = measurement([repetition(at, 2, 128, 0.09, 0.0) for at in range(3)], base, mode="strong", cores=4)
    words = told(results().model_copy(update={"results": [base, top]}))
    assert "what limits is fixed costs, as compute: 87.9 ms a step against 98.0 ms at the base" in words
    assert "though a rank has fewer images a step" in words


def test_ranks_without_their_processors_are_told() -> None:
    """As beside other work: a step takes twice as long, and as many processor seconds."""
    study = results(engines=("mpi",), ranks=(1, 2), cores=2, loss=0.0, sources=["real"])
    assert "other work" not in told(study)
    base, top = study.results
    each = [
        one.model_copy(update={"usage": [use.model_copy(update={"cpu_percent": 116.0}) for use in one.usage]})
        for one in top.repetitions
    ]
    step = top.step_seconds.model_copy(update={"compute": 2 * top.step_seconds.compute})
    slower = top.model_copy(update={"repetitions": each, "step_seconds": step, "efficiency": 0.5})
    words = " ".join(summary(group([base, slower])))
    assert "had 116 % of a core, where the base had 100 %, so other work or a limit took the rest" in words
