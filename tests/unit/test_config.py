"""Recipes: defaults, overrides, and messages that name the key and the mend."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import pytest

from hpcdl.config.checks import check_ranks
from hpcdl.config.load import dump, load, recipe_names
from hpcdl.config.precision import settle
from hpcdl.config.schema import OptimizerConfig, RunConfig, Section
from hpcdl.errors import ConfigError
from hpcdl.models.registry import check


def test_every_shipped_recipe_loads_under_its_own_name() -> None:
    assert {"mnist-mlp-sigmoid", "fashion-mlp-adam", "cifar10-cnn-dropout", "cifar10-128-resnet50v2"} < set(
        recipe_names()
    )
    for name in recipe_names():
        config = load(name)
        assert config.name == name
        assert config.about.source and config.about.expected and config.about.summary
        assert name in config.about.command
        check(config.model.name)
        check_ranks(config, 2)


def test_a_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    config = load("cifar10-resnet20", ["train.epochs=3", "launch.env.A=1", "data.path=a b"])
    path = tmp_path / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(str(path)) == config
    assert config.launch.env == {"A": "1"}


def test_overrides_take_yaml_values() -> None:
    config = load("cifar10-resnet20", ["data.augment=[flip]", "train.steps=null", "optimizer.learning_rate=1e-3"])
    assert config.data.augment == ["flip"]
    assert config.train.steps is None
    assert config.optimizer.learning_rate == 0.001


@pytest.mark.parametrize(
    ("override", "received", "expected", "fix"),
    [
        ("train.epoch=1", "unknown key train.epoch", "epochs", "train.epochs"),
        ("trian.epochs=1", "unknown key trian", "train", "did you mean train?"),
        ("train.epochs=x", "train.epochs='x'", "integer", "train.epochs="),
        ("train.epochs=0", "train.epochs=0", "greater than or equal to 1", "train.epochs="),
        ("optimizer.name=sdg", "optimizer.name='sdg'", "'sgd'", "optimizer.name="),
        ("optimizer.momentum=0.9", "optimizer", "adam takes", "optimizer."),
        ("optimizer.learning_rate=.nan", "nan", "finite", "optimizer.learning_rate="),
        ("train.micro_batch=5", "train", "divides global_batch 32", "train."),
        ("launch.threads=0", "launch.threads=0", "or 'auto'", "launch.threads="),
        ("data.augment=[crop]", "data.augment.0='crop'", "'pad-crop', 'random-resized-crop', 'flip'", "data.augment"),
        ("data.augment=[flip, flip]", "data", "each augmentation once", "data."),
        ("data.augment=[flip, alternate-flip]", "data", "one of flip and alternate-flip", "data."),
        ("train.evaluate=sometimes", "train.evaluate='sometimes'", "true or false or 'end'", "train.evaluate="),
        ("data.augment=[mixup, cutmix]", "data", "one of mixup and cutmix", "data."),
        ("train.patience=2", "sections", "data.validation above 0", "(section.key=…)"),
        ("train.label_smoothing=1", "train.label_smoothing=1", "less than 1", "train.label_smoothing="),
        ("schedule.milestones=[1,x]", "schedule.milestones.1='x'", "valid number", "schedule.milestones.1="),
        ("schedule.milestones=[0]", "schedule.milestones.0=0", "greater than 0", "schedule.milestones.0="),
        ("schedule.milestones=30", "schedule.milestones=30", "list", "schedule.milestones="),
        ("schedule.milestones=[30]", "schedule", "constant takes", "schedule."),
        ("schedule.factor=0.5", "schedule", "and not factor", "schedule."),
        ("schedule.final_factor=0.5", "schedule", "and not final_factor", "schedule."),
        ("schedule.name=step", "schedule", "milestones for step", "schedule."),
        ("schedule.name=one-cycle", "schedule", "warmup_epochs above 0 for one-cycle", "schedule."),
        ("optimizer.decay=kernels", "optimizer", "weight_decay beside decay=kernels", "optimizer."),
        ("optimizer.trust=0.1", "optimizer", "and not trust", "optimizer."),
        ("schedule.momentum_correction=true", "sections", "sgd and optimizer.momentum above 0", "(section.key=…)"),
        ("train.epochs.x=1", "train.epochs.x=1", "'epochs' to hold further keys", "epochs"),
        ("train.epochs", "'train.epochs'", "section.key=value", "="),
        ("=1", "'=1'", "section.key=value", "="),
        ("train..epochs=1", "train..epochs", "section.key=value", "="),
        ("train.epochs=[", "train.epochs=[", "value in YAML", "quote"),
    ],
)
def test_a_bad_override_is_told_in_three_lines(override: str, received: str, expected: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("cifar10-cnn", [override])
    assert received in caught.value.received
    assert expected in caught.value.expected
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("name: x\nname: y\n", "appears twice"),
        ("- a\n", "list"),
        ("name: [\n", "line"),
        ("name: x\ndata: {source: cifar10}\n", "no model"),
        ("name: x\ndata: {source: cifar10}\nmodel: {}\n", "no model.name"),
        ("1: x\n", "not text"),
        ("", "NoneType"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, received: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert received in caught.value.received


def test_a_recipe_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="cifar10-cn") as caught:
        load("cifar10-cn")
    assert "cifar10-cnn" in caught.value.fix
    with pytest.raises(ConfigError, match=r"no file nowhere\.yaml"):
        load("nowhere.yaml")


def test_more_ranks_than_micro_batches_are_refused_with_a_batch_that_fits() -> None:
    config = load("cifar10-resnet20")
    check_ranks(config, 2)
    with pytest.raises(ConfigError) as caught:
        check_ranks(config, 4)
    assert "train.micro_batch=64" in caught.value.fix
    check_ranks(load("cifar10-resnet20", ["train.micro_batch=64"]), 4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer.clipnorm=1", "optimizer.clipvalue=1"], "and not clipnorm with clipvalue"),
        (["schedule.name=step", "schedule.milestones=[2,2]"], "milestones that rise"),
        (["schedule.name=step", "schedule.milestones=[4,2]"], "milestones that rise"),
        (
            ["schedule.name=step", "schedule.milestones=[2,4]", "schedule.warmup_epochs=2"],
            "after warmup_epochs 2.0, and not [2.0, 4.0]",
        ),
        (["schedule.momentum_correction=true", "optimizer.name=sgd"], "and not with sgd and momentum None"),
        (["train.deterministic=true", "engine.compression=fp16"], "as they are, and not fp16"),
        (["train.steps=5", "phases=[{epochs: 1}, {epochs: 1}]"], "train.steps=null with several phases"),
        (["train.target=0.9", "train.evaluate=false"], "train.evaluate=true with train.target"),
        (["schedule.momentum_correction=true", "optimizer.name=lars", "optimizer.momentum=0.9"], "not with lars"),
        (["optimizer.name=sgd", "optimizer.epsilon=0.1"], "sgd takes"),
        (["optimizer.name=rmsprop", "optimizer.nesterov=true"], "rmsprop takes"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("cifar10-cnn", overrides)
    assert "do not go together" in caught.value.received
    assert expected in caught.value.expected


def test_a_large_batch_recipe_is_read_and_reads_back_equal(tmp_path: Path) -> None:
    config = load(
        "cifar10-resnet20",
        [
            "optimizer.decay=kernels",
            "optimizer.global_clipnorm=5",
            "schedule.name=step",
            "schedule.milestones=[30, 60, 80.5]",
            "schedule.factor=0.2",
            "schedule.scaling=sqrt",
            "schedule.momentum_correction=true",
            "train.label_smoothing=0.1",
        ],
    )
    assert config.schedule.milestones == [30.0, 60.0, 80.5]
    assert config.optimizer.options == {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "global_clipnorm": 5.0,
    }
    path = tmp_path / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(str(path)) == config


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam", "lamb"])
def test_an_optimizer_takes_the_keys_that_its_keras_class_has(name: str) -> None:
    (kind,) = (kind for label, kind in vars(keras.optimizers).items() if label.lower() == name)
    arguments = set(inspect.signature(kind).parameters)
    # of each key, a value that any optimizer could have
    values = dict.fromkeys(set(OptimizerConfig.model_fields) - {"name", "decay"}, 0.5) | {"nesterov": True}
    for key, value in values.items():
        if key in arguments:
            assert OptimizerConfig.model_validate({"name": name, key: value}).options == {key: value}
        else:
            with pytest.raises(ValueError, match=f"{name} takes .* and not {key}"):
                OptimizerConfig.model_validate({"name": name, key: value})


def test_every_key_says_what_it_is() -> None:
    def undocumented(section: type[Section]) -> list[str]:
        return [f"{section.__name__}.{key}" for key, field in section.model_fields.items() if not field.description] + [
            name
            for field in section.model_fields.values()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            for name in undocumented(field.annotation)
        ]

    assert undocumented(RunConfig) == []


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "mixed_bfloat16"), (False, "float32")])
def test_a_precision_that_is_left_to_the_machine_is_settled(bfloat16: bool, precision: str) -> None:
    asked = load("cifar10-resnet20", ["train.precision=auto", "train.epochs=3"])
    assert settle(asked, bfloat16=bfloat16) == load(
        "cifar10-resnet20", [f"train.precision={precision}", "train.epochs=3"]
    )
    told = load("cifar10-resnet20", ["train.precision=mixed_float16"])
    assert settle(told, bfloat16=bfloat16) is told
