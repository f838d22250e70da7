"""Which networks hpcdl has of its own. Looking at the table imports no TensorFlow."""

from __future__ import annotations

from hpcdl.models.entry import Entry

T18 = 'J. Torres, "Deep Learning: introducción práctica con Keras" (2018)'
T20 = 'J. Torres, "Python Deep Learning" (2020)'
FIRST = 'J. Torres, notebook "Primera Red Neuronal"'
CRASH = 'J. Torres, notebook "Deep learning crash course"'
CIFAR = 'J. Torres, notebook "Análisis predictivo con IA"'
HE = 'He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2'


def _mnist(function: str, summary: str, parameters: int, source: str, expects: str = "unit", minimum: int = 1) -> Entry:
    return Entry(
        "hpcdl.models.book_mnist", function, summary, parameters, (28, 28, 1), 10, source, expects, minimum=minimum
    )


def _cifar(function: str, summary: str, parameters: int) -> Entry:
    return Entry("hpcdl.models.book_cifar", function, summary, parameters, (32, 32, 3), 10, CIFAR, "unit")


def _resnet(depth: int, parameters: int) -> Entry:
    summary = f"ResNet-{depth} for small images"
    return Entry("hpcdl.models.resnet", f"resnet{depth}", summary, parameters, (32, 32, 3), 10, HE, "standard")


MODELS = {
    "mnist-mlp-sigmoid": _mnist("mnist_mlp_sigmoid", "10 sigmoid units", 7_960, f"{T18}; {T20}"),
    "mnist-mlp-relu": _mnist("mnist_mlp_relu", "10 relu units", 7_960, T18),
    "mnist-mlp-512": _mnist("mnist_mlp_512", "512 relu units", 407_050, T18),
    "mnist-cnn": _mnist("mnist_cnn", "two 5x5 convolutions", 62_346, T18, minimum=16),
    "mnist-mlp-64": _mnist("mnist_mlp_64", "twice 64 relu units", 55_050, FIRST, "centered"),
    "mnist-mlp-64-four": _mnist("mnist_mlp_64_four", "four times 64 relu units", 63_370, FIRST, "centered"),
    "mnist-mlp-64-sigmoid": _mnist("mnist_mlp_64_sigmoid", "twice 64 sigmoid units", 55_050, FIRST, "centered"),
    "mnist-mlp-64-dropout": _mnist(
        "mnist_mlp_64_dropout", "twice 64 relu units with dropout", 55_050, FIRST, "centered"
    ),
    "mnist-mlp-100": _mnist("mnist_mlp_100", "100 sigmoid units", 79_510, CRASH),
    "mnist-mlp-selu": _mnist("mnist_mlp_selu", "200 and 100 selu units, batch normalisation", 182_446, CRASH),
    "mnist-cnn-selu": _mnist(
        "mnist_cnn_selu", "a 3x3 convolution, then mnist-mlp-selu's layers", 2_229_614, CRASH, minimum=4
    ),
    "fashion-mlp": _mnist("fashion_mlp", "10 sigmoid units", 7_960, T20),
    "fashion-cnn": _mnist(
        "fashion_cnn", "two 5x5 convolutions", 62_346, f"{T20}, chapter 8; layers chosen here", minimum=16
    ),
    "fashion-cnn-dropout-bn": _mnist(
        "fashion_cnn_dropout_bn",
        "fashion-cnn with dropout and batch normalisation",
        62_634,
        f"{T20}, chapter 8; layers chosen here",
        minimum=16,
    ),
    "cifar10-dense-1": _cifar("cifar10_dense_1", "10 relu units", 30_840),
    "cifar10-dense-2": _cifar("cifar10_dense_2", "32, 64 and 128 relu units", 110_058),
    "cifar10-cnn-1": _cifar("cifar10_cnn_1", "one 5x5 convolution", 265_834),
    "cifar10-cnn": _cifar("cifar10_cnn", "three 3x3 convolutions", 122_570),
    "cifar10-cnn-dropout": _cifar("cifar10_cnn_dropout", "three 3x3 convolutions with dropout", 196_426),
    "vgg-small": Entry(
        "hpcdl.models.vgg",
        "vgg_small",
        "four 3x3 convolutions, for photographs",
        5_697_602,
        (150, 150, 3),
        2,
        f"{T20}, chapter 11; layers chosen here",
        "unit",
        minimum=16,
    ),
    "speedrun": Entry(
        "hpcdl.models.speedrun",
        "speedrun",
        "three convolutions behind fixed cosine filters, to learn CIFAR-10 in little time",
        196_778,
        (32, 32, 3),
        10,
        "hpcdl; ideas of Page 2018 and Jordan 2024",
        "standard",
        minimum=8,
    ),
    "speedrun-90": Entry(
        "hpcdl.models.speedrun",
        "speedrun_90",
        "six convolutions behind fixed cosine filters, to learn CIFAR-10 better",
        1_124_786,
        (32, 32, 3),
        10,
        "hpcdl; ideas of Page 2018 and Jordan 2024",
        "standard",
        minimum=8,
    ),
    "resnet20": _resnet(20, 271_098),
    "resnet32": _resnet(32, 466_426),
    "resnet56": _resnet(56, 857_082),
}
"""hpcdl's own networks by name."""
