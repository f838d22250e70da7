"""The points of a scaling study, and the reading of one start's records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcdl.bench.repetition import read_repetition
from hpcdl.bench.scaling import run_folder
from hpcdl.bench.study import Study, parse_counts, point_config
from hpcdl.config.load import load
from hpcdl.errors import ConfigError, RecordError


def study(*overrides: str, ranks: tuple[int, ...] = (1, 2, 4)) -> Study:
    return Study(load("cifar10-resnet20", overrides), "mpi", ranks, ("weak", "strong"), 3, 10, 2)


def test_weak_scaling_keeps_the_batch_a_rank() -> None:
    for ranks in (1, 2, 4):
        config = point_config(study(), "weak", ranks, cores=8)
        assert (config.train.global_batch, config.train.micro_batch) == (128 * ranks, 128)
        assert (config.train.steps, config.train.evaluate) == (12, False)
        # one rank has the share of the machine that it has among four
        assert config.launch.threads == 2


def test_strong_scaling_keeps_the_global_batch() -> None:
    batches = [point_config(study(), "strong", ranks, 2).train for ranks in (1, 2, 4)]
    assert [(train.global_batch, train.micro_batch) for train in batches] == [(256, 128), (256, 128), (256, 64)]
    uneven = [point_config(study("train.global_batch=384"), "strong", ranks, 2).train for ranks in (1, 2, 4)]
    assert [train.micro_batch for train in uneven] == [128, 96, 96]  # equal shares of 192 and 96
    with pytest.raises(ConfigError, match="strong scaling"):
        point_config(study(ranks=(1, 3)), "strong", 3, 2)


def test_threads_of_the_recipe_win() -> None:
    assert point_config(study("launch.threads=1"), "weak", 1, cores=8).launch.threads == 1


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,2", "1,1", "-1", "1.5"])
def test_rank_lists_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--ranks"):
        parse_counts(text, "--ranks")


def test_rank_lists_are_sorted() -> None:
    assert parse_counts("4,1,2", "--ranks") == (1, 2, 4)


def test_a_start_is_read_from_its_records(tmp_path: Path) -> None:
    run = run_folder(tmp_path, "weak", 2, 0)
    (run / "ranks").mkdir(parents=True)
    place = {"host": "n", "node": 0, "local_rank": 0, "cpus": [0]}
    (run / "environment.json").write_text(
        json.dumps({"ranks": [{"rank": rank, **place} for rank in range(2)]}), encoding="utf-8"
    )
    (run / "launch.json").write_text(json.dumps({"started": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    header = "step,images,step_seconds,input_seconds,communication_seconds\n"
    for rank, seconds in enumerate((0.5, 0.8)):
        rows = ["0,64,9,1,1\n"] + [f"{step},64,{seconds},0.1,0.2\n" for step in (1, 2, 3)]
        (run / "ranks" / f"{rank}.steps.csv").write_text(header + "".join(rows), encoding="ascii")
    repetition = read_repetition(run, tmp_path, index=0, warmup=1)
    assert repetition.run == "runs/weak-2-1"
    assert repetition.images == 3 * 64
    assert repetition.seconds == pytest.approx(3 * 0.8)  # the slowest rank
    assert repetition.images_per_s == pytest.approx(64 / 0.8)
    assert repetition.ranks[1].step == [0.8] * 3 and repetition.ranks[0].communication == [0.2] * 3
    with pytest.raises(RecordError, match="no step after 4"):
        read_repetition(run, tmp_path, index=0, warmup=4)
    (run / "ranks" / "1.steps.csv").unlink()
    with pytest.raises(RecordError, match=r"1\.steps\.csv"):
        read_repetition(run, tmp_path, index=0, warmup=1)
