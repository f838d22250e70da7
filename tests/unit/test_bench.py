"""The starts of a scaling study, and the reading of one start's records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdl.bench.accuracy import Trained, to_accuracy
from hpcdl.bench.repetition import read_repetition
from hpcdl.bench.resume import asked, differing, open_study, whole
from hpcdl.bench.scaling import run_folder
from hpcdl.bench.study import (
    ALLOWANCE,
    ALONE,
    Start,
    Study,
    parse_counts,
    parse_inputs,
    parse_warmup,
    start_config,
    starts,
)
from hpcdl.config.load import dump, load
from hpcdl.config.schema import RunConfig
from hpcdl.errors import ConfigError, LaunchError, RecordError
from hpcdl.launch.plan import Machine
from hpcdl.launch.topology import Topology

HEADER = "step,images,step_seconds,input_seconds,compute_seconds,communication_seconds,cpu_seconds\n"


def study(*overrides: str, ranks: tuple[int, ...] = (1, 2, 4)) -> Study:
    return Study(load("cifar10-resnet20", overrides), ("mpi",), ranks, ("weak", "strong"), 3, 10, 2)


def config(one: Study, mode: str, ranks: int, cores: int, source: str = "real") -> RunConfig:
    return start_config(one, Start(mode, source, "mpi", ranks, 0), cores)


def test_weak_scaling_keeps_the_batch_a_rank() -> None:
    for ranks in (1, 2, 4):
        found = config(study(), "weak", ranks, cores=8)
        assert (found.train.global_batch, found.train.micro_batch) == (128 * ranks, 128)
        assert (found.train.steps, found.train.evaluate) == (12, False)
        # one rank has the share of the machine that it has among four
        assert found.launch.threads == 2


def test_strong_scaling_keeps_the_global_batch() -> None:
    batches = [config(study(), "strong", ranks, 2).train for ranks in (1, 2, 4)]
    assert [(train.global_batch, train.micro_batch) for train in batches] == [(256, 128), (256, 128), (256, 64)]
    uneven = [config(study("train.global_batch=384"), "strong", ranks, 2).train for ranks in (1, 2, 4)]
    assert [train.micro_batch for train in uneven] == [128, 96, 96]  # equal shares of 192 and 96
    with pytest.raises(ConfigError, match="strong scaling"):
        config(study(ranks=(1, 3)), "strong", 3, 2)


def test_threads_of_the_recipe_win() -> None:
    assert config(study("launch.threads=1"), "weak", 1, cores=8).launch.threads == 1


@pytest.mark.parametrize("recipe", ["cifar10-resnet20", "cifar10-vgg19-finetune", "fashion-cnn", "imagenet-resnet50"])
@pytest.mark.parametrize("source", ["real", "synthetic"])
def test_any_recipe_makes_starts_that_ranks_accept(recipe: str, source: str, tmp_path: Path) -> None:
    """A rank reads its recipe from a file, and checks it again."""
    one = replace(study(), config=load(recipe, ["train.patience=3", "data.validation=0.1", "train.target=0.9"]))
    found = config(one, "weak", 2, cores=2, source=source)
    path = tmp_path / "config.yaml"
    path.write_text(dump(found), encoding="utf-8")
    assert load(str(path)) == found
    assert found.train.target is found.train.patience is None and len(found.phases) <= 1
    assert bool(found.data.synthetic) == (source == "synthetic")
    if found.data.synthetic:
        assert found.data.synthetic % found.train.global_batch == 0 and not found.data.augment


def test_a_start_to_an_accuracy_is_the_recipe_with_a_target() -> None:
    one = replace(study("train.epochs=7", "train.patience=2", "data.validation=0.1"), target=0.75)
    found = config(one, "accuracy", 2, cores=2)
    assert (found.train.target, found.train.epochs, found.train.steps, found.train.evaluate) == (0.75, 7, None, True)
    assert found.train.global_batch == one.config.train.global_batch and not found.checkpoint.wanted
    with pytest.raises(ConfigError, match="4 ranks"):
        config(one, "accuracy", 4, cores=4)  # two micro-batches


def test_starts_interleave_over_everything_and_one_rank_is_measured_once() -> None:
    one = replace(study(ranks=(1, 2)), engines=("mpi", "horovod"), inputs=("real", "synthetic"), modes=("weak",))
    made = starts(replace(one, repeats=2, target=0.5, accuracy_repeats=1))
    first = [each for each in made if each.repeat == 0]
    assert made[: len(first)] == first  # a whole round before the next
    assert [(each.input, each.engine, each.ranks) for each in first if each.mode == "weak"] == [
        (source, engine, ranks)
        for source in ("real", "synthetic")
        for engine, ranks in ((ALONE, 1), ("mpi", 2), ("horovod", 2))
    ]
    assert len([each for each in made if each.mode == "accuracy"]) == 3
    assert len({each.name for each in made}) == len(made) == 2 * 6 + 3


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,2", "1,1", "-1", "1.5"])
def test_rank_lists_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--ranks"):
        parse_counts(text, "--ranks")


def test_rank_lists_are_sorted() -> None:
    assert parse_counts("4,1,2", "--ranks") == (1, 2, 4)


def test_inputs_and_warmup_are_checked() -> None:
    assert parse_inputs("synthetic,real") == ("synthetic", "real")
    assert (parse_warmup("auto"), parse_warmup("0"), parse_warmup("7")) == (None, 0, 7)
    for text in ("", "fake", "real,real", "real,"):
        with pytest.raises(ConfigError, match="--input"):
            parse_inputs(text)
    for text in ("", "-1", "1.5", "Auto", "٣"):
        with pytest.raises(ConfigError, match="--warmup"):
            parse_warmup(text)


def write_start(folder: Path, tables: Sequence[Sequence[str]], header: str = HEADER, name: str = "weak-2") -> Path:
    """The records of one start, with the lines of each rank's steps."""
    run = folder / "runs" / name
    (run / "ranks").mkdir(parents=True)
    places = [{"rank": at, "host": "n", "node": 0, "local_rank": at, "cpus": [0]} for at in range(len(tables))]
    places[0]["absent"] = ["GPU: no GPU"]
    (run / "environment.json").write_text(json.dumps({"ranks": places}), encoding="utf-8")
    (run / "launch.json").write_text(json.dumps({"started": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    (run / "summary.json").write_text(json.dumps({"allreduce_bytes": 1234}), encoding="utf-8")
    for rank, lines in enumerate(tables):
        (run / "ranks" / f"{rank}.steps.csv").write_text(header + "".join(lines), encoding="ascii")
    usage = "time,steps,memory_gib,energy_joules,gpu_percent,gpu_memory_gib,gpu_joules\n"
    (run / "ranks" / "0.usage.csv").write_text(f"{usage}1,0,9,,,,\n2,2,1.5,,,,\n3,4,1.25,,,,\n", encoding="ascii")
    return run


def rows(seconds: float, steps: int = 4) -> list[str]:
    return ["0,64,9,1,1,1,9\n"] + [f"{step},64,{seconds},0.1,0.15,0.2,0.4\n" for step in range(1, steps)]


def test_a_start_is_read_from_its_records(tmp_path: Path) -> None:
    run = write_start(tmp_path, [rows(0.5), rows(0.8)])
    found = read_repetition(run, tmp_path, index=0, warmup=1)
    assert found.run == "runs/weak-2" and found.allreduce_bytes == 1234
    assert found.images == 3 * 64
    assert found.seconds == pytest.approx(3 * 0.8)  # the slowest rank
    assert found.images_per_s == pytest.approx(64 / 0.8)
    assert found.ranks[1].step == [0.8] * 3 and found.ranks[0].communication == [0.2] * 3
    assert found.ranks[0].compute == [0.15] * 3 and found.ranks[1].cpu == [0.4] * 3
    (usage,) = found.usage
    assert usage.cpu_percent == pytest.approx(100 * 6 * 0.4 / 2.4) and usage.memory_gib == 1.5
    assert usage.energy_joules is usage.gpu_percent is None and usage.absent == ["GPU: no GPU"]
    with pytest.raises(RecordError, match="no step after 4"):
        read_repetition(run, tmp_path, index=0, warmup=4)
    (run / "ranks" / "1.steps.csv").unlink()
    with pytest.raises(RecordError, match=r"1\.steps\.csv"):
        read_repetition(run, tmp_path, index=0, warmup=1)


def test_torn_rows_are_left_out_of_every_rank_with_a_note(tmp_path: Path) -> None:
    torn = rows(0.5, 6)
    torn[3] = "3,64,0.5\n"
    torn[4] = "4,64,0.5,0.1,0.15,nan,0.4\n"
    run = write_start(tmp_path, [torn, rows(0.8, 6)])
    notes: list[str] = []
    found = read_repetition(run, tmp_path, 0, 1, notes.append)
    assert found.steps == 3 and [len(rank.step) for rank in found.ranks] == [3, 3] and found.images == 3 * 64
    assert len(notes) == 1 and "0.steps.csv: 2 torn lines left out" in notes[0]


def test_records_of_an_earlier_version_are_named(tmp_path: Path) -> None:
    header = "step,images,step_seconds,input_seconds,communication_seconds\n"
    run = write_start(tmp_path, [["0,64,9,1,1\n"]], header)
    with pytest.raises(RecordError, match="without compute_seconds, cpu_seconds"):
        read_repetition(run, tmp_path, 0, 0)


def test_warmup_is_found_from_the_slowest_rank_and_kept_in_the_record(tmp_path: Path) -> None:
    fast = [f"{step},64,{0.5 + 0.01 * (step % 3)},0,0.1,0.1,0.1\n" for step in range(20)]
    slow = [line.replace(",0.5", ",2.5") if at < 6 else line for at, line in enumerate(fast)]
    found = read_repetition(write_start(tmp_path, [fast, slow]), tmp_path, 0, None)
    assert (found.warmup_steps, found.steps) == (6, 14)
    with pytest.raises(RecordError, match="3 steps"):
        read_repetition(write_start(tmp_path, [fast[:3]], name="weak-1"), tmp_path, 0, None)


def test_time_to_accuracy_counts_the_starts_that_reached_it() -> None:
    one = replace(study(ranks=(1, 2)), engines=("mpi", "horovod"), target=0.5)

    def trained(name: str, seconds: float, best: float) -> Trained:
        return Trained(f"runs/{name}", best >= 0.5, seconds, 3, best, 1, "real")

    found = {
        Start("accuracy", "real", ALONE, 1, 0): trained("a", 10.0, 0.6),
        Start("accuracy", "real", ALONE, 1, 1): trained("b", 99.0, 0.4),
        Start("accuracy", "real", "mpi", 2, 0): trained("c", 7.0, 0.3),
    }
    one_mpi, two_mpi, one_horovod = to_accuracy(one, found)
    assert (one_mpi.reached, one_mpi.best, one_mpi.runs) == (1, [0.6, 0.4], ["runs/a", "runs/b"])
    assert one_mpi.seconds and one_mpi.seconds.samples == [10.0] and one_mpi.epochs == [3.0]
    assert (two_mpi.ranks, two_mpi.reached, two_mpi.seconds, two_mpi.epochs) == (2, 0, None, [])
    assert (one_horovod.engine, one_horovod.ranks, one_horovod.seconds) == ("horovod", 1, one_mpi.seconds)


def machine(cores: int = 2) -> Machine:
    return Machine(Topology("h", (0, 1), cores, "cpu", 8.0), None, False)


def test_a_study_goes_on_only_as_it_began(tmp_path: Path) -> None:
    folder, data = tmp_path / "s", {"real": Path("data")}
    open_study(folder, asked(study(), data, machine()), resume=True, overwrite=False)
    open_study(folder, asked(study(), data, machine()), resume=True, overwrite=False)
    for other, told in (
        (asked(replace(study(), steps=9), data, machine()), "study.steps was 10 and is 9"),
        (asked(replace(study(), warmup=None), data, machine()), "study.warmup was 2 and is not there"),
        (asked(study("optimizer.learning_rate=0.2"), data, machine()), "study.config.optimizer.learning_rate"),
        (asked(study(), {"real": Path("other")}, machine()), "data.real was data and is other"),
        (asked(study(), data, machine(4)), "machine.cores was 2 and is 4"),
        (asked(study(), data, machine()) | {"versions": {"keras": "0"}}, "versions.keras"),
    ):
        with pytest.raises(ConfigError, match=told.replace(".", r"\.")):
            open_study(folder, other, resume=True, overwrite=False)
    with pytest.raises(ConfigError, match=r"earlier run|no run left"):
        open_study(folder, asked(study(), data, machine()), resume=False, overwrite=False)
    assert differing({"a": (1, 2)}, {"a": [1, 2]}) == []


def test_a_start_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    run = write_start(tmp_path, [rows(0.5), rows(0.5)])
    assert whole(run, 2) and not whole(tmp_path / "nothing", 2)
    (run / "summary.json").unlink()
    with subprocess.Popen([sys.executable, "-c", "input()", str(run)], stdin=subprocess.PIPE) as rank:
        with pytest.raises(LaunchError, match=f"still run: {rank.pid}"):
            whole(run, 2)
        assert run.exists()
        rank.communicate(b"\n")
    assert not whole(run, 2) and not run.exists()
    assert run_folder(tmp_path, Start("weak", "real", "mpi", 2, 0)).name == "weak-real-mpi-2-1"
    assert ALLOWANCE >= 10
