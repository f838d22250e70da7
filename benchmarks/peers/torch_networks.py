"""The networks in PyTorch, with as many parameters as in Keras."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from work import Work


def network(work: Work) -> nn.Module:
    """Logits of a work's network."""
    builders = {
        "mnist-mlp-relu": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(10, 10)),
        "cifar10-cnn": lambda: nn.Sequential(
            *_pooled(3, 32), *_pooled(32, 64), *_pooled(64, 64),
            nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10),
        ),
        "resnet20": ResNet20,
        "resnet50": ResNet50,
        "vgg16": _vgg16,
    }  # fmt: skip
    return builders[work.network]()


def _pooled(inputs: int, filters: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]


def _vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = filters
        layers.append(nn.MaxPool2d(2))
    hidden = [nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(4096, 1000))


class Basic(nn.Module):  # type: ignore[misc]
    """Two convolutions with an identity shortcut (option A)."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.one, self.two = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        self.stride, self.missing = stride, filters - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.second(F.relu(self.one(self.first(x)))))
        if self.stride > 1:
            half = self.missing // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.missing - half))
        return F.relu(x + y)


class ResNet20(nn.Module):  # type: ignore[misc]
    """He et al. 2015, section 4.2."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        inputs = 16
        for stage, filters in enumerate((16, 32, 64)):
            for block in range(3):
                blocks.append(Basic(inputs, filters, 2 if stage and not block else 1))
                inputs = filters
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return y


class Bottleneck(nn.Module):  # type: ignore[misc]
    """As keras.applications has it: the stride in the first convolution, and biases."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()

        def part(entering: int, leaving: int, size: int, step: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(entering, leaving, size, step, size // 2), nn.BatchNorm2d(leaving, eps=1.001e-5)]

        self.main = nn.Sequential(
            *part(inputs, filters, 1, stride), nn.ReLU(inplace=True),
            *part(filters, filters, 3), nn.ReLU(inplace=True),
            *part(filters, 4 * filters, 1),
        )  # fmt: skip
        change = stride > 1 or inputs != 4 * filters
        self.shortcut = nn.Sequential(*(part(inputs, 4 * filters, 1, stride) if change else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.main(x))


class ResNet50(nn.Module):  # type: ignore[misc]
    """He et al. 2015, table 1, for 224 x 224 pixels."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64, eps=1.001e-5), nn.ReLU(inplace=True)]
        blocks.append(nn.MaxPool2d(3, 2, 1))
        inputs = 64
        for stage, (filters, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for block in range(count):
                blocks.append(Bottleneck(inputs, filters, 2 if stage and not block else 1))
                inputs = 4 * filters
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return y


def parameters(model: nn.Module) -> int:
    """Trainable ones."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
