"""What every peer is given to do, and what it answers; no framework is imported here.

A peer is started as `python PEER.py JOB.json`, once a rank where its launcher says so. Rank 0 writes Answer to the
job's `answer`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
PART = 500
"""Test images that are looked at together."""


@dataclass(frozen=True)
class Work:
    """A network, its images and its optimizer; the same for every peer."""

    recipe: str
    """hpcdl's; its network is `network`."""
    network: str
    shape: tuple[int, int, int]
    """(height, width, channels)."""
    classes: int
    batch: int
    """Images of a rank and step."""
    parameters: int
    """Trainable ones."""
    steps: int
    """Measured in a start: some ten seconds, or a few steps of what takes seconds each."""
    optimizer: str = "sgd"
    rate: float = 0.01
    momentum: float = 0.0
    images: int = 0
    """Of the training set."""
    halves: bool = True
    """Whether 16 bits are asked of it too."""


WORKS = {
    "perceptron": Work(
        "mnist-mlp-relu", "mnist-mlp-relu", (28, 28, 1), 10, 100, 7_960, 2000, images=60_000, halves=False
    ),
    "cifar10-cnn": Work(
        "cifar10-cnn", "cifar10-cnn", (32, 32, 3), 10, 32, 122_570, 300, "adam", 0.001, images=50_000, halves=False
    ),
    "resnet20": Work("cifar10-resnet20", "resnet20", (32, 32, 3), 10, 128, 269_722, 24, "sgd", 0.1, 0.9, 50_000),
    "resnet50": Work("imagenet-resnet50", "resnet50", (224, 224, 3), 1000, 8, 25_583_592, 4, "sgd", 0.01, 0.9),
    "vgg16": Work("imagenet-vgg16", "vgg16", (224, 224, 3), 1000, 8, 138_357_544, 3, "sgd", 0.001, 0.9),
}


@dataclass(frozen=True)
class Job:
    """One start of a peer."""

    work: str
    input: str
    """"synthetic": one batch, which stays; "real"."""
    data: str
    """The folder with mnist, cifar-10-batches-bin and imagenet-sample."""
    ranks: int
    batch: int
    """Images of this process and step."""
    precision: str
    """"float32" or "mixed_bfloat16"."""
    threads: int
    """Of a process."""
    at_once: int
    """Steps that one call of TensorFlow makes, where a peer has such a setting."""
    began: float
    """time() when the command was started."""
    answer: str

    @property
    def task(self) -> Work:
        """Its work."""
        return WORKS[self.work]

    @property
    def warmup(self) -> int:
        """Steps that are dropped."""
        return max(3, self.task.steps // 5)

    @property
    def all_steps(self) -> int:
        """With those of warm-up."""
        return self.task.steps + self.warmup

    @property
    def an_epoch(self) -> int:
        """Steps of a pass over the images; with synthetic ones, all of them."""
        images = self.task.images if self.input == "real" else 0
        return -(-images // (self.batch * self.ranks)) or self.all_steps

    @property
    def tested(self) -> bool:
        """Whether what was trained is tried on the test set: on images of MNIST or CIFAR-10."""
        return self.input == "real" and self.task.shape[0] < 224

    @property
    def folder(self) -> str:
        """Of the work's images."""
        return str(
            Path(self.data) / {28: "mnist", 32: "cifar-10-batches-bin", 224: "imagenet-sample"}[self.task.shape[0]]
        )


@dataclass(frozen=True)
class Answer:
    """What rank 0 saw."""

    ends: list[float]
    """time() after each step."""
    losses: list[float]
    """Of each step, over this process's images."""
    parameters: int
    """Trainable ones."""
    accuracy: float | None
    """Of what was trained, on the test images of MNIST or CIFAR-10."""


def read_job() -> Job:
    """The job that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


class Clock:
    """Notes the end of each step."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.ends: list[float] = []
        self.losses: list[float] = []

    def step(self, loss: float, steps: int = 1) -> None:
        """A step has ended, or several at once; its loss has been read, so nothing of it is under way."""
        self.ends += [time()] * steps
        self.losses += [loss] * steps

    @property
    def over(self) -> bool:
        """Whether all steps are done."""
        return len(self.ends) >= self.job.all_steps

    def write(self, parameters: int, scores: Callable[[Array], Array] | None) -> None:
        """Writes the answer; called by rank 0.

        Args:
            parameters: trainable ones.
            scores: pixels (n, height, width, channels) -> what the network says of each class (n, classes); None
                leaves the accuracy out.
        """
        accuracy = None
        if scores and self.job.tested:
            pixels, labels = small(self.job, "test")
            parts = [scores(pixels[start : start + PART]) for start in range(0, len(pixels), PART)]
            accuracy = float(np.mean(np.concatenate(parts).argmax(axis=1) == labels))
        answer = Answer(self.ends, self.losses, parameters, accuracy)
        Path(self.job.answer).write_text(json.dumps(asdict(answer)), encoding="utf-8")


def synthetic(job: Job, rank: int) -> tuple[Array, Array]:
    """One batch of random pixels in [0, 1] and random labels."""
    random = np.random.default_rng(rank)
    pixels = random.random((job.batch, *job.task.shape), np.float32)
    return pixels, random.integers(0, job.task.classes, job.batch, np.int32)


def small(job: Job, split: str = "train") -> tuple[Array, Array]:
    """All training or test images of MNIST or CIFAR-10, float32 in [0, 1], and labels."""
    place = Path(job.data)
    if job.task.shape[2] == 1:
        name = {"train": "train", "test": "t10k"}[split]
        pixels, labels = (_idx(place / "mnist", f"{name}-{kind}") for kind in ("images-idx3", "labels-idx1"))
        return pixels[..., None].astype(np.float32) / 255, labels.astype(np.int32)
    names = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}[split]
    files = [place / "cifar-10-batches-bin" / f"{name}.bin" for name in names]
    rows = np.concatenate([np.fromfile(each, np.uint8).reshape(-1, 3073) for each in files])
    planes = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return planes.astype(np.float32) / 255, rows[:, 0].astype(np.int32)


def _idx(folder: Path, kind: str) -> Array:
    import gzip

    path = next(folder.glob(f"{kind}-ubyte*"))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = data[3]
    sizes = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def photographs(job: Job) -> tuple[list[str], list[int]]:
    """Paths and labels of the training photographs."""
    classes = sorted((Path(job.data) / "imagenet-sample" / "train").iterdir())
    found = [(str(path), label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    return [path for path, _ in found], [label for _, label in found]


def batches(pixels: Array, labels: Array, batch: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Shuffled batches without end."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(pixels))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield pixels[chosen], labels[chosen]
