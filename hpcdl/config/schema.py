"""What a recipe may say. Every key has a docstring, a type and, but for the first three, a default."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

OPTIMIZER_SHARED = {"learning_rate", "weight_decay", "decay", "clipnorm", "global_clipnorm", "clipvalue"}
OPTIMIZER_OWN = {
    "sgd": {"momentum", "nesterov"},
    "adam": {"beta_1", "beta_2", "epsilon"},
    "adamw": {"beta_1", "beta_2", "epsilon"},
    "nadam": {"beta_1", "beta_2", "epsilon"},
    "lamb": {"beta_1", "beta_2", "epsilon"},
    "rmsprop": {"rho", "momentum", "epsilon"},
    "lars": {"momentum", "nesterov", "trust", "epsilon"},
    "muon": {"momentum", "nesterov", "trust"},
}
"""What each optimizer takes besides OPTIMIZER_SHARED."""

SCHEDULE_SHARED = {"warmup_epochs", "scaling", "base_batch", "momentum_correction"}
SCHEDULE_OWN = {
    "constant": set[str](),
    "cosine": set[str](),
    "step": {"milestones", "factor"},
    "one-cycle": {"start_factor", "final_factor"},
}
"""What each schedule takes besides SCHEDULE_SHARED."""


def _refuse_foreign(name: str, given: Iterable[str], own: set[str]) -> None:
    """Refuses keys that the rule or schedule of that name does not take."""
    foreign = sorted(set(given) - own)
    if foreign:
        raise ValueError(f"{name} takes {', '.join(sorted(own))}, and not {', '.join(foreign)}")


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class About(Section):
    """What a reader of the recipe should know; nothing here changes the run."""

    summary: str = ""
    """One line for `hpcdl recipes list`."""
    source: str = ""
    """Where the network and its settings come from."""
    command: str = ""
    """How to run it."""
    expected: str = ""
    """Result and time to expect, and where that was measured."""


class DataConfig(Section):
    """The images."""

    source: Literal["mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet", "folder", "npz"]
    """Which data set, or kind of one; `hpcdl data list` tells what each looks like on disk."""
    path: str | None = None
    """Folder, file or archive; --data wins over it; null looks in HPCDL_DATA and ./data."""
    classes: Positive | list[str] | None = None
    """The first so many classes, or those of these names; null: all."""
    per_class: Positive | None = None
    """At most so many training images a class, always the same ones; null: all."""
    synthetic: Positive | None = None
    """So many random images, made once in memory, in place of the set's: nothing is read or decoded, for benchmarks of
    all but the input. null: the set's."""
    validation: Fraction = 0.0
    """Share of the training images, spread evenly over the set, that is held out and evaluated after every epoch."""
    size: Positive | None = None
    """Height and width that the network sees; null: the images' own, for sets whose images have all one."""
    augment: list[
        Literal[
            "pad-crop",
            "random-resized-crop",
            "flip",
            "alternate-flip",
            "color-jitter",
            "randaugment",
            "cutout",
            "mixup",
            "cutmix",
        ]
    ] = []
    """Random changes of each training image, as functions of (seed, epoch, sample); alternate-flip mirrors an image in
    every second epoch; mixup and cutmix mix pairs within a micro-batch."""
    padding: Positive = 4
    """pad-crop: pixels on each side."""
    padding_mode: Literal["zeros", "reflect"] = "zeros"
    """pad-crop: what those pixels are; reflect: the image's own, mirrored at its edges."""
    normalize: Literal["unit", "centered", "symmetric", "standard", "caffe", "none"] = "unit"
    """unit: pixels in [0, 1]; centered: [-0.5, 0.5]; symmetric: [-1, 1]; standard: less the set's channel mean, over
    its deviation; caffe: BGR in [0, 255] less ImageNet's means, as VGG's weights expect; none: [0, 255]."""

    @model_validator(mode="after")
    def _crops_once(self) -> DataConfig:
        if len(set(self.augment)) < len(self.augment):
            raise ValueError(f"each augmentation once, and not {self.augment}")
        for one, other in (("pad-crop", "random-resized-crop"), ("flip", "alternate-flip"), ("mixup", "cutmix")):
            if one in self.augment and other in self.augment:
                raise ValueError(f"one of {one} and {other}, and not both")
        return self


class ModelConfig(Section):
    """The network."""

    name: str
    """A name that `hpcdl models list` shows."""
    weights: str | None = None
    """File that the weights start from (.keras or .weights.h5), or imagenet, which Keras downloads for its
    applications; layers of other shapes, as the last one, keep their random start. null: all random."""


class OptimizerConfig(Section):
    """The update rule, with Keras's names and, for null, the defaults of its class."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "nadam", "lamb", "lars", "muon"] = "sgd"
    """keras.optimizers.SGD, Adam, AdamW, RMSprop, Nadam or Lamb; lars, muon: hpcdl.LARS, hpcdl.Muon,
    the latter for networks that normalise after each convolution."""
    learning_rate: Rate | None = None
    """Step size, before schedule and scaling."""
    momentum: Fraction | None = None
    """sgd, rmsprop, lars, muon: share of the last step that is kept."""
    nesterov: bool | None = None
    """sgd, lars, muon: Nesterov's momentum."""
    beta_1: Fraction | None = None
    """adam, adamw, nadam, lamb: decay of the first moment."""
    beta_2: Fraction | None = None
    """adam, adamw, nadam, lamb: decay of the second moment."""
    rho: Fraction | None = None
    """rmsprop: decay of the mean square."""
    epsilon: Rate | None = None
    """All but sgd and muon: keeps the division finite."""
    trust: Rate | None = None
    """lars, muon: a kernel's step in units of its norm at a learning rate of 1; null: 0.001 for lars, 0.1 for muon."""
    weight_decay: NonNegative | None = None
    """Decay a step, times the learning rate, beside the update and not through its momentum, so an L2 decay d
    under momentum m is d / (1 - m) here; lars alone puts it into the update. null: 0.004 for adamw, else none."""
    decay: Literal["all", "kernels"] = "all"
    """What weight_decay shrinks; kernels: no biases and no scale or offset of a normalisation (Goyal et al. 2017,
    section 5.1, for normalisation; He et al. 2019, "Bag of Tricks", section 3.1, for both). lars: never vectors."""
    clipnorm: Rate | None = None
    """Largest norm of one variable's gradient; of the three ways to clip a recipe takes one."""
    global_clipnorm: Rate | None = None
    """Largest norm of all gradients together."""
    clipvalue: Rate | None = None
    """Largest absolute value in a gradient."""

    @property
    def options(self) -> dict[str, float | bool]:
        """What the recipe sets of the optimizer's constructor arguments."""
        return self.model_dump(exclude={"name", "decay"}, exclude_none=True)

    @model_validator(mode="after")
    def _only_its_own(self) -> OptimizerConfig:
        _refuse_foreign(self.name, self.options, OPTIMIZER_OWN[self.name] | OPTIMIZER_SHARED)
        return self

    @model_validator(mode="after")
    def _clips_once(self) -> OptimizerConfig:
        given = [key for key in ("clipnorm", "global_clipnorm", "clipvalue") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"one of clipnorm, global_clipnorm and clipvalue, and not {' with '.join(given)}")
        return self

    @model_validator(mode="after")
    def _has_what_decay_limits(self) -> OptimizerConfig:
        if self.decay == "kernels" and self.weight_decay is None and self.name != "adamw":
            raise ValueError(f"weight_decay beside decay=kernels, for {self.name} has none by default")
        return self


class ScheduleConfig(Section):
    """The learning rate over the run: it grows to a peak, and falls from there as the name says."""

    name: Literal["constant", "cosine", "step", "one-cycle"] = "constant"
    """constant: the peak; cosine: half a cosine to 0 at the end; step: times factor at each milestone; one-cycle:
    a straight line from start_factor x peak, half a cosine to final_factor x peak (Smith 2018; momentum stays)."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear growth to the peak (Goyal et al. 2017, section 2.2); one-cycle: its rising part."""
    milestones: list[Rate] = []
    """step: epochs after which the rate is multiplied, rising, counted from the start of the run, as [30, 60, 80]."""
    factor: Rate = 0.1
    """step: by how much."""
    start_factor: Annotated[float, Field(gt=0, le=1)] = 0.04
    """one-cycle: where the rate starts, as a share of the peak."""
    final_factor: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """one-cycle: where the rate ends, as a share of the peak."""
    scaling: Literal["none", "linear", "sqrt"] = "none"
    """linear: the peak is learning_rate x global_batch / base_batch (Goyal et al. 2017, section 2.1); sqrt: x the
    root of that ratio (Krizhevsky 2014; Hoffer et al. 2017)."""
    base_batch: Positive = 256
    """The global batch that learning_rate was chosen for."""
    momentum_correction: bool = False
    """sgd with momentum: when the rate goes from a to b, the velocity is multiplied by b / a, for Keras keeps the
    rate inside it (Goyal et al. 2017, section 3, remark 2)."""

    @model_validator(mode="after")
    def _only_its_own(self) -> ScheduleConfig:
        # A resolved recipe lists every key, so what counts as given is what differs from the default.
        given = [key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default]
        _refuse_foreign(self.name, set(given) - {"name"}, SCHEDULE_OWN[self.name] | SCHEDULE_SHARED)
        return self

    @model_validator(mode="after")
    def _complete(self) -> ScheduleConfig:
        if self.name == "step":
            after = [self.warmup_epochs, *self.milestones]
            if not self.milestones:
                raise ValueError("milestones for step: the epochs after which the rate falls, as [30, 60, 80]")
            if any(late <= early for early, late in pairwise(after)):
                raise ValueError(
                    f"milestones that rise and come after warmup_epochs {self.warmup_epochs}, and not {self.milestones}"
                )
        if self.name == "one-cycle" and not self.warmup_epochs:
            raise ValueError("warmup_epochs above 0 for one-cycle, whose rising part it is")
        return self


class TrainConfig(Section):
    """The updates. Batch sizes belong to the recipe and not to the machine."""

    epochs: Positive = 10
    """Passes over the training set."""
    global_batch: Positive = 256
    """Images an update, over all ranks."""
    micro_batch: Positive = 128
    """Images a forward pass; an update takes global_batch / micro_batch of them, dealt to the ranks."""
    label_smoothing: Fraction = 0.0
    """Share of each label that is spread evenly over all classes (Szegedy et al. 2016, section 7)."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"] = "float32"
    """The Keras dtype policy; mixed_float16 scales the loss, and moves the scale alike on all ranks. auto:
    mixed_bfloat16 where the processor has instructions for it, float32 elsewhere."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Start of every random number: weights, order, augmentation."""
    deterministic: bool = False
    """The same bits each time and for every number of ranks (at equal launch.threads), with slower operations
    and micro-batches times the traffic."""
    check_every: Positive | None = 100
    """Compare the ranks' weights after this many updates, more rarely where that takes over 1 %; null never does."""
    steps_per_execution: Positive | Literal["auto"] = "auto"
    """Updates that TensorFlow makes without Python between them, as in Keras's compile; auto: a tenth of a second's.
    What is learned does not depend on it; checkpoints, signals and reports of progress wait for it."""
    steps: Positive | None = None
    """Stop after this many updates in all; null trains all epochs."""
    evaluate: bool | Literal["end"] = True
    """Evaluate on the test set, and on what data.validation holds out, after every epoch; end: after the last
    alone, of each phase where there are phases."""
    mirror: bool = False
    """Evaluate each image and its mirror image, and average the two answers."""
    moved: Annotated[int, Field(ge=0)] = 0
    """Evaluate each image also moved by so many pixels up and to the left, and down and to the right; the two count
    as much together as the image where it is."""
    patience: Positive | None = None
    """Stop after so many epochs without a lower loss on what data.validation holds out; null: train all epochs."""
    target: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop after the first epoch with this test accuracy; null: train all epochs."""
    save: bool = True
    """Write model.keras at the end."""
    time_limit: Rate | None = None
    """Seconds after which the run writes a checkpoint and leaves with code 75, to be resumed; null: none."""
    stall_timeout: Rate | None = 300.0
    """Seconds without an update, or another sign of work, after which a rank ends the run; null: never. A data set may
    take an hour to be read."""

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> TrainConfig:
        if self.global_batch % self.micro_batch:
            raise ValueError(f"a micro_batch that divides global_batch {self.global_batch}, and not {self.micro_batch}")
        return self


class Phase(Section):
    """A part of the training with a rate of its own, in which some layers may rest."""

    epochs: Positive
    """Passes over the training set."""
    trainable: str = "all"
    """all; head: what comes after the last pooling or flattening; head+N: and the N layers with weights before it."""
    learning_rate: Rate | None = None
    """In place of optimizer.learning_rate; null: the same."""


class CheckpointConfig(Section):
    """When what was learned is written, so that the run can go on from there. All null: never."""

    every_steps: Positive | None = None
    """After so many updates."""
    every_seconds: Rate | None = 600.0
    """After so many seconds."""
    every_epochs: Positive | None = None
    """After so many epochs; the best of these, by accuracy, is kept."""
    keep: Positive = 3
    """How many of the newest are kept."""

    @property
    def wanted(self) -> bool:
        """Whether any is written; if so, then also when the run ends or is stopped."""
        return any((self.every_steps, self.every_seconds, self.every_epochs))


class EngineConfig(Section):
    """What sums the gradients over the ranks."""

    name: Literal["auto", "horovod", "mpi", "single"] = "auto"
    """auto: Horovod where it is installed, mpi otherwise, single for one rank alone."""
    compression: Literal["none", "fp16", "bf16"] = "none"
    """Gradients travel in 16 bits and are added up in 32."""
    bucket_mb: Rate = 25.0
    """MiB of gradients that are reduced at once, while the backward pass goes on: Horovod, and mpi with compression,
    which else reduces large gradients where they lie."""


class LaunchConfig(Section):
    """How the ranks share the processor."""

    threads: Positive | Literal["auto"] = "auto"
    """Compute threads a rank; auto: usable cores / ranks."""
    binding: Literal["auto", "none", "core", "socket", "numa"] = "auto"
    """What mpirun binds a rank to; auto leaves that to the kernel (none)."""
    env: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = {}
    """Environment of the ranks; it wins over what hpcdl chooses."""


class RunConfig(Section):
    """A whole recipe."""

    name: str
    """The recipe's name, used for run folders and reports."""
    data: DataConfig
    """The images."""
    model: ModelConfig
    """The network."""
    about: About = About()
    """For readers."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The update rule."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the run."""
    train: TrainConfig = TrainConfig()
    """The updates."""
    phases: list[Phase] = []
    """One after the other, in place of train.epochs; [] trains all layers for train.epochs."""
    engine: EngineConfig = EngineConfig()
    """What sums the gradients."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """When what was learned is written."""
    launch: LaunchConfig = LaunchConfig()
    """How the ranks share the processor."""

    @model_validator(mode="after")
    def _can_stop(self) -> RunConfig:
        train = self.train
        if train.patience is not None and not (self.data.validation and train.evaluate is True):
            raise ValueError("data.validation above 0 and train.evaluate=true with train.patience, which watches it")
        if train.target is not None and train.evaluate is not True:
            raise ValueError("train.evaluate=true with train.target, a test accuracy")
        if train.steps is not None and len(self.phases) > 1:
            raise ValueError("train.steps=null with several phases, which count epochs")
        return self

    @model_validator(mode="after")
    def _sends_exact_rows(self) -> RunConfig:
        if self.train.deterministic and self.engine.compression != "none":
            raise ValueError(
                "engine.compression=none with train.deterministic, which sends every micro-batch's gradients as they "
                f"are, and not {self.engine.compression}"
            )
        return self

    @model_validator(mode="after")
    def _corrects_a_momentum(self) -> RunConfig:
        momentum = self.optimizer.momentum
        if self.schedule.momentum_correction and not (self.optimizer.name == "sgd" and momentum):
            raise ValueError(
                "schedule.momentum_correction with optimizer.name=sgd and optimizer.momentum above 0, "
                f"and not with {self.optimizer.name} and momentum {momentum}"
            )
        return self
