"""Networks: the parameters that books and papers print, the layers, what a recipe may call them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from hpcdl.cli.app import app
from hpcdl.config.schema import DataConfig
from hpcdl.errors import ConfigError
from hpcdl.models.describe import describe
from hpcdl.models.registry import APPLICATIONS, MODELS, build, catalog, check
from hpcdl.training.state import State

Made = TypeVar("Made")

# What books, notebooks and papers print, each for its own data set.
PRINTED = {
    "mnist-mlp-sigmoid": 7_960,
    "mnist-mlp-relu": 7_960,
    "mnist-mlp-512": 407_050,
    "mnist-cnn": 62_346,
    "mnist-mlp-64": 55_050,
    "mnist-mlp-100": 79_510,
    "fashion-mlp": 7_960,
    "cifar10-dense-1": 30_840,
    "cifar10-dense-2": 110_058,
    "cifar10-cnn-1": 265_834,
    "cifar10-cnn": 122_570,
    "cifar10-cnn-dropout": 196_426,
}
CIFAR_CONVOLUTIONS = "Conv2D 32 3x3 same relu, Pool 2, Conv2D 64 3x3 same relu, Pool 2, Conv2D 64 3x3 same relu, Pool 2"
LAYERS = {
    "mnist-mlp-sigmoid": "Flatten, Dense 10 sigmoid",
    "mnist-mlp-relu": "Flatten, Dense 10 relu",
    "mnist-mlp-512": "Flatten, Dense 512 relu",
    "mnist-cnn": "Conv2D 32 5x5 valid relu, Pool 2, Conv2D 64 5x5 valid relu, Pool 2, Flatten",
    "mnist-mlp-64": "Flatten, Dense 64 relu, Dense 64 relu",
    "mnist-mlp-64-four": "Flatten, Dense 64 relu, Dense 64 relu, Dense 64 relu, Dense 64 relu",
    "mnist-mlp-64-sigmoid": "Flatten, Dense 64 sigmoid, Dense 64 sigmoid",
    "mnist-mlp-64-dropout": "Flatten, Dense 64 relu, Dropout 0.5, Dense 64 relu, Dropout 0.5",
    "mnist-mlp-100": "Flatten, Dense 100 sigmoid",
    "mnist-mlp-selu": "Flatten, BatchNormalization, Dense 200 selu lecun_normal, BatchNormalization, "
    "Dense 100 selu lecun_normal, BatchNormalization",
    "mnist-cnn-selu": "Conv2D 64 3x3 valid relu, Pool 2, Flatten, BatchNormalization, Dense 200 selu lecun_normal, "
    "BatchNormalization, Dense 100 selu lecun_normal, BatchNormalization",
    "fashion-mlp": "Flatten, Dense 10 sigmoid",
    "fashion-cnn": "Conv2D 32 5x5 valid relu, Pool 2, Conv2D 64 5x5 valid relu, Pool 2, Flatten",
    "cifar10-dense-1": "Flatten, Dense 10 relu",
    "cifar10-dense-2": "Flatten, Dense 32 relu, Dense 64 relu, Dense 128 relu",
    "cifar10-cnn-1": "Conv2D 16 5x5 same relu, Pool 2, Flatten, Dense 64 relu, Dense 32 relu",
    "cifar10-cnn": f"{CIFAR_CONVOLUTIONS}, Flatten, Dense 64 relu",
    "cifar10-cnn-dropout": CIFAR_CONVOLUTIONS.replace("Pool 2", "Pool 2, Dropout 0.2")
    + ", Flatten, Dense 128 relu, Dense 64 relu",
}


@pytest.fixture(autouse=True)
def _own_policy() -> Iterator[None]:
    """A dtype policy that a test sets is not the next one's."""
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def without_memory(make: Callable[[], Made]) -> Made:
    """Calls a function whose networks get no values; in a thread, for Keras would give them some later."""

    def call() -> Made:
        with keras.StatelessScope(initialize_variables=False):
            return make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def tell(layer: keras.layers.Layer) -> str:
    """A layer in the words of LAYERS."""
    config, kind = layer.get_config(), type(layer).__name__
    words = {
        "Dense": lambda: f"Dense {config['units']} {config['activation']}",
        "Conv2D": lambda: (
            f"Conv2D {config['filters']} {'x'.join(map(str, config['kernel_size']))} {config['padding']} "
            f"{config['activation']}"
        ),
        "MaxPooling2D": lambda: f"Pool {config['pool_size'][0]}",
        "Dropout": lambda: f"Dropout {config['rate']}",
    }.get(kind, lambda: kind)()
    start = config.get("kernel_initializer", {}).get("class_name")
    return words + (" lecun_normal" if start == "LecunNormal" else "")


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_tells_the_parameters(name: str) -> None:
    entry = MODELS[name]
    assert describe(name, entry.shape, entry.classes).parameters == entry.parameters
    assert entry.parameters == PRINTED.get(name, entry.parameters)


@pytest.mark.parametrize("name", LAYERS)
def test_the_books_networks_layer_by_layer(name: str) -> None:
    *hidden, output = build(name, MODELS[name].shape, 7).layers
    assert ", ".join(tell(layer) for layer in hidden) == LAYERS[name]
    assert tell(output) == "Dense 7 softmax"


@pytest.mark.parametrize("depth", [20, 32, 56])
def test_residual_networks_have_the_papers_size_and_depth(depth: int) -> None:
    model = build(f"resnet{depth}", (32, 32, 3), 10)
    weighted = [layer for layer in model.layers if type(layer).__name__ in {"Conv2D", "Dense"}]
    assert len(weighted) == depth
    # stages of 16, 32 and 64 filters with 2n convolutions each and no projections, scale and shift, the classifier
    twice = (depth - 2) // 3
    stages = twice * 16 * 16 + 16 * 32 + (twice - 1) * 32 * 32 + 32 * 64 + (twice - 1) * 64 * 64
    convolutions = 9 * (3 * 16 + stages)
    normalisation = 2 * ((twice + 1) * 16 + twice * 32 + twice * 64)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == convolutions + normalisation + 650
    assert convolutions + normalisation + 650 == pytest.approx({20: 0.27e6, 32: 0.46e6, 56: 0.85e6}[depth], rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_its_own_trains(name: str) -> None:
    entry = MODELS[name]
    side = min(32, entry.shape[0])
    shape = (side, side, entry.shape[2])
    random = np.random.default_rng(0)
    images, labels = random.uniform(size=(4, *shape)).astype(np.float32), random.integers(0, entry.classes, 4)
    keras.utils.set_random_seed(0)
    model = build(name, shape, entry.classes)
    start = [np.array(each) for each in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    loss = model.fit(images, labels, batch_size=4, verbose=0).history["loss"][0]
    assert np.isfinite(loss)
    assert all(np.isfinite(np.array(each)).all() for each in model.variables)
    assert any((np.array(each) != was).any() for each, was in zip(model.trainable_variables, start, strict=True))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in {"resnet32", "resnet56"}])
def test_recipes_can_combine_the_state_of_every_network(name: str) -> None:
    entry = MODELS[name]
    model = build(name, (16, 16, 3), entry.classes)
    state = State(model)
    start = state.start(tf.ones((state.random_layers, 2), tf.int32))
    weights = [each.value for each in model.trainable_variables]
    output, after, _ = model.stateless_call(weights, start, np.ones((2, 16, 16, 3)), training=True, return_losses=True)
    assert output.shape == (2, entry.classes)
    assert len(state.added(start, after)) == len(state.momenta)
    frozen = sum(len(layer.weights) for layer in model.layers if not layer.trainable)
    fixed = sum(not weight.trainable for weight in model.weights if weight.path.endswith("/gamma"))
    assert len(state.momenta) + state.random_layers + frozen + fixed == len(model.non_trainable_variables)


@pytest.mark.parametrize("name", ["ResNet50V2", "MobileNetV2", "DenseNet121", "ConvNeXtTiny", "EfficientNetB0"])
def test_applications_keep_no_state_but_statistics_and_seeds(name: str) -> None:
    def constants() -> set[str]:
        model = build(name, (32, 32, 3), 10)
        state = State(model)
        own = {id(each) for layer in model.layers if "BatchNorm" in type(layer).__name__ for each in layer.weights}
        assert len(state.momenta) == sum(id(each) in own for each in model.non_trainable_variables)
        rest = [each for each in model.non_trainable_variables if id(each) not in own]
        assert state.random_layers == sum(each.name == "seed_generator_state" for each in rest)
        return {each.path.split("/")[-1] for each in rest} - {"seed_generator_state"}

    # EfficientNetB0 scales pixels by itself, with values that training leaves alone
    assert without_memory(constants) == ({"mean", "variance", "count"} if name == "EfficientNetB0" else set())


def test_the_constants_of_an_efficient_net_do_not_hinder_a_recipe() -> None:
    model = build("EfficientNetB0", (32, 32, 3), 10)
    state = State(model)
    start = state.start(tf.ones((state.random_layers, 2), tf.int32))
    weights = [each.value for each in model.trainable_variables]
    _, after, _ = model.stateless_call(weights, start, np.ones((1, 32, 32, 3)), training=True, return_losses=True)
    assert len(state.added(start, after)) == len(state.momenta)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["mnist-cnn", "resnet20", "vgg16", "ResNet50V2", "MobileNetV3Small"])
def test_probabilities_are_float32_where_layers_compute_in_16_bits(name: str, policy: str) -> None:
    def dtypes() -> tuple[str, str, set[str]]:
        keras.mixed_precision.set_dtype_policy(policy)
        model = build(name, (32, 32, 3), 10)
        convolution = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
        assert model.outputs[0].shape == (None, 10)
        return model.outputs[0].dtype, convolution.compute_dtype, {each.dtype for each in model.trainable_variables}

    assert without_memory(dtypes) == ("float32", policy.removeprefix("mixed_"), {"float32"})


def test_the_softmax_itself_is_computed_in_float32() -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    output = build("MobileNetV3Small", (32, 32, 3), 10)(np.zeros((2, 32, 32, 3), np.float32))
    assert output.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(output, axis=1), 1, atol=1e-6)  # bfloat16 has 3 digits


def test_the_table_lists_what_keras_has() -> None:
    functions = {name for name, each in vars(keras.applications).items() if inspect.isfunction(each)}
    assert set(APPLICATIONS) == functions


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("VGG16", 138_357_544),
        ("VGG19", 143_667_240),
        ("ResNet50", 25_636_712),
        ("ResNet50V2", 25_613_800),
        ("ResNet152V2", 60_380_648),
        ("MobileNetV3Small", 2_554_968),
        ("EfficientNetB0", 5_330_571),
        ("EfficientNetV2B0", 7_200_312),
        ("ConvNeXtTiny", 28_589_128),
    ],
)
def test_applications_have_their_published_size(name: str, parameters: int) -> None:
    entry = check(name)
    assert entry.parameters == parameters
    assert describe(name, entry.shape, entry.classes).parameters == parameters


@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_itself_refuses_images_below_the_minimum(name: str) -> None:
    side = APPLICATIONS[name].minimum - 1
    with pytest.raises(ValueError, match=f"at least {side + 1}"):
        getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))


@pytest.mark.parametrize("name", ["VGG16", "MobileNetV3Small", "InceptionV3", "Xception", "mnist-cnn"])
def test_images_that_are_too_small_are_refused_and_the_smallest_are_not(name: str) -> None:
    entry = check(name)
    side = entry.minimum
    with pytest.raises(ConfigError, match=f"at least {side} x {side}") as caught:
        build(name, (side - 1, side, 3), 10)
    assert name in caught.value.received
    assert without_memory(lambda: build(name, (side, side, 1), 10).outputs[0].shape) == (None, 10)


def test_networks_tell_what_they_expect_in_the_words_of_a_recipe() -> None:
    known = set(DataConfig.model_fields["normalize"].annotation.__args__)
    assert {entry.expects for _, entry in catalog()} <= known | {None}
    # where Keras has a function that scales pixels, the two agree on a few values
    pixels = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    own = {
        "caffe": pixels[..., ::-1] - np.array([103.939, 116.779, 123.68]),
        "symmetric": pixels / 127.5 - 1,
        "standard": (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        "none": pixels,
    }
    modules = {name: sys.modules[getattr(keras.applications, name).__module__] for name in APPLICATIONS}
    inside = ("MobileNetV3", "EfficientNetV2", "ConvNeXt")  # scaled by layers that hpcdl leaves out, so not there
    for name, module in modules.items():
        if not name.startswith(inside):
            scaled = module.preprocess_input(pixels.copy())
            np.testing.assert_allclose(scaled, own[APPLICATIONS[name].expects], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "EfficientNetV2S", "ConvNeXtTiny"])
def test_what_a_network_expects_is_what_its_own_scaling_layers_make(name: str) -> None:
    pixels = np.linspace(0, 255, 32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3)

    whole = without_memory(lambda: getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3)))
    scaled, layers = tf.constant(pixels), []
    for layer in whole.layers[1:]:
        if "Rescaling" not in type(layer).__name__ and "ormalization" not in layer.name:
            break
        layers.append(layer)
        scaled = layer(scaled)
    expected = {
        "symmetric": pixels / 127.5 - 1,
        "standard": (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    }[APPLICATIONS[name].expects]
    assert layers
    np.testing.assert_allclose(scaled, expected, atol=0.02)
    own = without_memory(lambda: [type(layer) for layer in build(name, (32, 32, 3), 10).layers])
    assert own.count(type(layers[0])) == [type(layer) for layer in whole.layers].count(type(layers[0])) - 1


@pytest.mark.parametrize("name", ["ResNet50V2", "resnet50v2", "RESNET50V2"])
def test_names_are_found_in_any_case(name: str) -> None:
    assert check(name).function == "ResNet50V2"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("resnet2", "resnet20"), ("resnet51", "ResNet50"), ("vgg-16", "VGG16"), ("mnist_cnn", "mnist-cnn")],
)
def test_an_unknown_network_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=wrong) as caught:
        check(wrong)
    assert caught.value.fix.startswith("did you mean ")
    assert repr(right) in caught.value.fix


def test_nothing_near_points_to_the_list() -> None:
    with pytest.raises(ConfigError, match="cifar10-cnn") as caught:
        check("?")
    assert "models list" in caught.value.fix


def test_the_list_needs_no_tensorflow() -> None:
    code = (
        "import sys; from hpcdl.models.registry import catalog, check; catalog(); check('vgg16'); "
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


NETS = """
import keras
from keras import layers

def mynet(shape, classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten(),
                             layers.Dense(classes, activation="softmax", dtype="float32")])

def raising(shape, classes):
    return [1, 2][shape[0]]

def headless(shape, classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten()])

def unbuilt(shape, classes):
    return keras.Sequential([layers.Flatten(), layers.Dense(classes, dtype="float32")])

def half(shape, classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(classes, dtype="bfloat16")])

def nothing(shape, classes):
    return None

class Nets:
    inner = staticmethod(mynet)
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with entry points where Python finds it: folders as pip writes them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(package: str = "borrowed", code: str = NETS, **points: str) -> None:
        (tmp_path / f"{package}_nets.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[hpcdl.models]", *lines, ""]), encoding="utf-8")

    yield put
    for module in [name for name in sys.modules if name.endswith("_nets")]:
        del sys.modules[module]


def test_a_package_brings_a_network(install: Install) -> None:
    install(mynet="borrowed_nets:mynet", inner="borrowed_nets:Nets.inner")
    assert build("mynet", (4, 4, 3), 5).count_params() == 4 * 4 * 3 * 5 + 5
    assert build("INNER", (4, 4, 3), 5).count_params() == 4 * 4 * 3 * 5 + 5
    assert check("mynet").package == "borrowed"
    assert "mynet" in [name for name, _ in catalog()]
    with pytest.raises(ConfigError) as caught:
        check("mynett")
    assert caught.value.fix == "did you mean 'mynet'?"


@pytest.mark.parametrize("name", ["resnet20", "VGG16", "vgg16", "ResNet20"])
def test_a_package_cannot_take_a_name_that_is_taken(name: str, install: Install) -> None:
    install(**{name: "borrowed_nets:mynet"})
    with pytest.raises(ConfigError, match="borrowed") as caught:
        check(name.lower())
    assert "rename" in caught.value.fix
    assert check("resnet32").function == "resnet32"  # all others stay usable


def test_two_packages_cannot_share_a_name(install: Install) -> None:
    install("one", mynet="one_nets:mynet")
    install("two", mynet="two_nets:mynet")
    with pytest.raises(ConfigError, match=r"one and of two|two and of one"):
        check("mynet")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("borrowed_nets:absent", "absent"),
        ("borrowed_nets", "AttributeError"),
        ("no_such_module_here:mynet", "No module named"),
        ("borrowed_nets:NETS", "NETS"),
        ("borrowed_nets:raising", "IndexError"),
        ("borrowed_nets:headless", r"\(None, 48\)"),
        ("borrowed_nets:unbuilt", "not built"),
        ("borrowed_nets:half", "bfloat16"),
        ("borrowed_nets:nothing", "NoneType"),
        ("not a module: at all", "borrowed"),
    ],
)
def test_a_broken_entry_point_is_told_when_it_is_asked_for(value: str, told: str, install: Install) -> None:
    install(broken=value, mynet="borrowed_nets:mynet")
    catalog()
    build("mynet", (4, 4, 3), 5)
    with pytest.raises(ConfigError, match=told) as caught:
        build("broken", (4, 4, 3), 5)
    assert "borrowed" in caught.value.received
    assert "broken" in caught.value.received


def test_a_package_that_fails_at_import_is_told(install: Install) -> None:
    install(code="raise RuntimeError('licence missing')", mynet="borrowed_nets:mynet")
    assert check("mynet").package == "borrowed"
    with pytest.raises(ConfigError, match="licence missing"):
        build("mynet", (4, 4, 3), 5)


def call(*arguments: str) -> str:
    """A command's output, or its error."""
    result = CliRunner().invoke(app, ["models", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_list_has_own_networks_first_and_one_line_each(install: Install) -> None:
    install(mynet="borrowed_nets:mynet", VGG19="borrowed_nets:mynet")
    lines = call("list").splitlines()
    assert [line.split()[0] for line in lines] == [name for name, _ in catalog()]
    assert lines[0].split()[0] == "mnist-mlp-sigmoid"
    columns = {line.index(" parameters") for line in lines if " parameters" in line}
    assert len(columns) == 1  # aligned
    rows = {row["name"]: row for row in json.loads(call("list", "--json"))}
    assert list(rows)[: len(MODELS)] == list(MODELS)
    assert rows["ResNet50"]["expects"] == "caffe"
    assert rows["ResNet50"]["shape"] == [224, 224, 3]
    assert rows["mynet"]["parameters"] is None
    assert [name for name, row in rows.items() if row["refused"]] == ["VGG19"]


def test_a_network_is_shown_layer_by_layer() -> None:
    text = call("show", "cifar10-cnn")
    assert "\x1b" not in text
    assert ["conv2d_1", "Conv2D", "16", "x", "16", "x", "64", "18,496"] in [line.split() for line in text.splitlines()]
    assert "parameters: 122,570, trainable 122,570" in text
    assert "Torres" in text
    assert "data.normalize=unit" in text
    shown = json.loads(call("show", "resnet20", "--shape", "28,28,1", "--classes", "3", "--json"))
    assert shown["shape"] == [28, 28, 1]
    assert shown["layers"][-1] == {"name": "dense", "kind": "Dense", "output": "3", "parameters": 195}
    assert shown["parameters"] - shown["trainable"] == 2 * (7 * 16 + 6 * 32 + 6 * 64)


@pytest.mark.parametrize("shape", ["32", "32,32", "32x32x3", "0,32,3", "a,b,c", "32,32,3,1", "-1,2,3"])
def test_a_shape_that_is_none_is_refused(shape: str) -> None:
    with pytest.raises(ConfigError, match="32,32,3"):
        call("show", "cifar10-cnn", "--shape", shape)


def test_showing_an_unknown_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="cifar10-cmm"):
        call("show", "cifar10-cmm")
