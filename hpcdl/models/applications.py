"""Which networks keras.applications has, and how they are built. Looking at the table imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hpcdl.models.entry import Entry, Shape

if TYPE_CHECKING:
    import keras

MODULE = "keras.applications"


class _Family(NamedTuple):
    """Networks of one paper."""

    source: str
    expects: str
    """data.normalize for the published weights, with the layers that `_build` makes."""
    minimum: int
    networks: dict[str, tuple[int, int]]
    """Name -> height and width of the images it was made for, and parameters for those in 3 channels and 1000
    classes."""


_FAMILIES = (
    _Family(
        'Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition"',
        "caffe",
        32,
        {"VGG16": (224, 138_357_544), "VGG19": (224, 143_667_240)},
    ),
    _Family(
        'He et al. 2015, "Deep Residual Learning for Image Recognition"',
        "caffe",
        32,
        {"ResNet50": (224, 25_636_712), "ResNet101": (224, 44_707_176), "ResNet152": (224, 60_419_944)},
    ),
    _Family(
        'He et al. 2016, "Identity Mappings in Deep Residual Networks"',
        "symmetric",
        32,
        {"ResNet50V2": (224, 25_613_800), "ResNet101V2": (224, 44_675_560), "ResNet152V2": (224, 60_380_648)},
    ),
    _Family(
        'Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision"',
        "symmetric",
        75,
        {"InceptionV3": (299, 23_851_784)},
    ),
    _Family(
        'Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning"',
        "symmetric",
        75,
        {"InceptionResNetV2": (299, 55_873_736)},
    ),
    _Family(
        'Chollet 2016, "Xception: Deep Learning with Depthwise Separable Convolutions"',
        "symmetric",
        71,
        {"Xception": (299, 22_910_480)},
    ),
    _Family(
        'Huang et al. 2016, "Densely Connected Convolutional Networks"',
        "standard",
        32,
        {"DenseNet121": (224, 8_062_504), "DenseNet169": (224, 14_307_880), "DenseNet201": (224, 20_242_984)},
    ),
    _Family(
        'Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications"',
        "symmetric",
        32,
        {"MobileNet": (224, 4_253_864)},
    ),
    _Family(
        'Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"',
        "symmetric",
        32,
        {"MobileNetV2": (224, 3_538_984)},
    ),
    _Family(
        'Howard et al. 2019, "Searching for MobileNetV3"',
        "symmetric",
        32,
        {"MobileNetV3Small": (224, 2_554_968), "MobileNetV3Large": (224, 5_507_432)},
    ),
    _Family(
        'Zoph et al. 2017, "Learning Transferable Architectures for Scalable Image Recognition"',
        "symmetric",
        32,
        {"NASNetMobile": (224, 5_326_716), "NASNetLarge": (331, 88_949_818)},
    ),
    _Family(
        'Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"',
        "none",
        32,
        {
            "EfficientNetB0": (224, 5_330_571),
            "EfficientNetB1": (240, 7_856_239),
            "EfficientNetB2": (260, 9_177_569),
            "EfficientNetB3": (300, 12_320_535),
            "EfficientNetB4": (380, 19_466_823),
            "EfficientNetB5": (456, 30_562_527),
            "EfficientNetB6": (528, 43_265_143),
            "EfficientNetB7": (600, 66_658_687),
        },
    ),
    _Family(
        'Tan and Le 2021, "EfficientNetV2: Smaller Models and Faster Training"',
        "standard",
        32,
        {
            "EfficientNetV2B0": (224, 7_200_312),
            "EfficientNetV2B1": (240, 8_212_124),
            "EfficientNetV2B2": (260, 10_178_374),
            "EfficientNetV2B3": (300, 14_467_622),
        },
    ),
    _Family(
        'Tan and Le 2021, "EfficientNetV2: Smaller Models and Faster Training"',
        "symmetric",
        32,
        {
            "EfficientNetV2S": (384, 21_612_360),
            "EfficientNetV2M": (480, 54_431_388),
            "EfficientNetV2L": (480, 119_027_848),
        },
    ),
    _Family(
        'Liu et al. 2022, "A ConvNet for the 2020s"',
        "standard",
        32,
        {
            "ConvNeXtTiny": (224, 28_589_128),
            "ConvNeXtSmall": (224, 50_223_688),
            "ConvNeXtBase": (224, 88_591_464),
            "ConvNeXtLarge": (224, 197_767_336),
            "ConvNeXtXLarge": (224, 350_196_968),
        },
    ),
)


APPLICATIONS = {
    name: Entry(
        MODULE,
        name,
        f"keras.applications; {family.source.split(',')[0]}",
        parameters,
        (size, size, 3),
        1000,
        family.source,
        family.expects,
        minimum=family.minimum,
    )
    for family in _FAMILIES
    for name, (size, parameters) in family.networks.items()
}
"""The networks of keras.applications by name."""


def build_application(name: str, shape: Shape, classes: int) -> keras.Model:
    """A network of keras.applications with random weights, and a softmax in float32 under any dtype policy.

    Pixels are not scaled inside, where Keras leaves the choice; EfficientNetB0 to B7 take [0, 255] and scale it.

    Args:
        name: as keras.applications has it.
        shape: (height, width, channels).
        classes: units of the softmax.
    """
    import keras

    model = _build(name, shape, weights=None, classes=classes, classifier_activation="softmax")
    last = model.layers[-1]
    exact = type(last).from_config(last.get_config() | {"dtype": "float32"})
    return keras.Model(model.input, exact(last.input), name=name)


def pretrained(name: str, shape: Shape, classes: int) -> keras.Model:
    """The network with the weights that Keras downloads, and without its top where that does not fit.

    Args:
        name: as keras.applications has it.
        shape: (height, width, channels).
        classes: of the network that wants the weights.

    Raises:
        Exception: what Keras raises where it cannot download, or has no weights for images of that shape.
    """
    entry = APPLICATIONS[name]
    whole = (shape, classes) == (entry.shape, entry.classes)
    return _build(name, shape, weights="imagenet", include_top=whole)


def _build(name: str, shape: Shape, **options: Any) -> keras.Model:
    from inspect import signature

    from keras import applications

    function = getattr(applications, name)
    if "include_preprocessing" in signature(function).parameters:
        options["include_preprocessing"] = False
    model: keras.Model = function(input_shape=shape, **options)
    return model
