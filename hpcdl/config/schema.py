"""What a recipe may say. Every key has a docstring, a type and, but for the first three, a default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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

    source: Literal["cifar10"]
    """Which data set."""
    path: str | None = None
    """Folder or archive; --data wins over it; null looks in HPCDL_DATA and ./data."""
    augment: list[Literal["pad-crop", "flip"]] = []
    """Random changes of each training image, as functions of (seed, epoch, sample)."""
    normalize: Literal["unit", "standard"] = "unit"
    """unit: pixels in [0, 1]; standard: less the set's channel mean, over its deviation."""


class ModelConfig(Section):
    """The network."""

    name: str
    """A name that `hpcdl models list` shows."""


class OptimizerConfig(Section):
    """The update rule, with Keras's names and, for null, Keras's defaults."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """keras.optimizers.SGD, Adam or AdamW."""
    learning_rate: Rate | None = None
    """Step size, before schedule and scaling."""
    momentum: Fraction | None = None
    """sgd: share of the last step that is kept."""
    nesterov: bool | None = None
    """sgd: Nesterov's momentum."""
    beta_1: Fraction | None = None
    """adam, adamw: decay of the first moment."""
    beta_2: Fraction | None = None
    """adam, adamw: decay of the second moment."""
    epsilon: Rate | None = None
    """adam, adamw: keeps the division finite."""
    weight_decay: NonNegative | None = None
    """Decoupled decay a step, times the learning rate."""

    @property
    def options(self) -> dict[str, float | bool]:
        """What the recipe sets besides the name, as the Keras class takes it."""
        return self.model_dump(exclude={"name"}, exclude_none=True)

    @model_validator(mode="after")
    def _only_its_own(self) -> OptimizerConfig:
        own = {
            "learning_rate",
            "weight_decay",
            *({"momentum", "nesterov"} if self.name == "sgd" else {"beta_1", "beta_2", "epsilon"}),
        }
        foreign = sorted(set(self.options) - own)
        if foreign:
            raise ValueError(f"{self.name} takes {', '.join(sorted(own))}, and not {', '.join(foreign)}")
        return self


class ScheduleConfig(Section):
    """The learning rate over the run."""

    name: Literal["constant", "cosine"] = "constant"
    """constant, or half a cosine from the peak to 0 at the last step."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear growth to the peak."""
    scaling: Literal["none", "linear"] = "none"
    """linear: the peak is learning_rate x global_batch / base_batch (Goyal et al. 2017)."""
    base_batch: Positive = 256
    """The global batch that learning_rate was chosen for."""


class TrainConfig(Section):
    """The updates. Batch sizes belong to the recipe and not to the machine."""

    epochs: Positive = 10
    """Passes over the training set."""
    global_batch: Positive = 256
    """Images an update, over all ranks."""
    micro_batch: Positive = 128
    """Images a forward pass; an update takes global_batch / micro_batch of them, dealt to the ranks."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """The Keras dtype policy."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Start of every random number: weights, order, augmentation."""
    steps: Positive | None = None
    """Stop after this many updates in all; null trains all epochs."""
    evaluate: bool = True
    """Evaluate on the test set after every epoch."""
    save: bool = True
    """Write model.keras at the end."""

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> TrainConfig:
        if self.global_batch % self.micro_batch:
            raise ValueError(f"a micro_batch that divides global_batch {self.global_batch}, and not {self.micro_batch}")
        return self


class EngineConfig(Section):
    """What sums the gradients over the ranks."""

    name: Literal["auto", "horovod", "mpi", "single"] = "auto"
    """auto: Horovod where it is installed, mpi otherwise, single for one rank alone."""


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
    engine: EngineConfig = EngineConfig()
    """What sums the gradients."""
    launch: LaunchConfig = LaunchConfig()
    """How the ranks share the processor."""
