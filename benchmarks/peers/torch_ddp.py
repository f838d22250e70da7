"""PyTorch's DistributedDataParallel over gloo, under torchrun; channels last, and compiled where the job says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch_networks import network, parameters
from work import Clock, Job, batches, photographs, read_job, small, synthetic


class Photographs(Dataset[tuple[Tensor, int]]):  # type: ignore[misc]
    """Random windows of 224 x 224 pixels in [0, 1], as torchvision's RandomResizedCrop takes them, and mirrored."""

    def __init__(self, job: Job, rank: int) -> None:
        paths, labels = photographs(job)
        self.paths, self.labels = paths[rank :: job.ranks], labels[rank :: job.ranks]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        image = Image.open(self.paths[index])
        width, height = image.size
        box = self._window(width, height)
        pixels = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR, box), np.float32) / 255
        if np.random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1), self.labels[index]

    @staticmethod
    def _window(width: int, height: int) -> tuple[float, float, float, float]:
        for _ in range(10):
            area = width * height * np.random.uniform(0.08, 1.0)
            ratio = np.exp(np.random.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = np.sqrt(area * ratio), np.sqrt(area / ratio)
            if w <= width and h <= height:
                left, top = np.random.uniform(0, width - w), np.random.uniform(0, height - h)
                return left, top, left + w, top + h
        return 0, 0, width, height


def images(job: Job, rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end of (pixels, labels), channels last in memory."""
    if job.input == "synthetic":
        pixels, labels = synthetic(job, rank)
        batch = _laid_out(pixels), torch.from_numpy(labels).long()
        while True:
            yield batch
    if job.task.shape[0] == 224:
        loader: DataLoader[Any] = DataLoader(
            Photographs(job, rank), job.batch, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True
        )
        while True:
            for few, classes in loader:
                yield few.contiguous(memory_format=torch.channels_last), classes
    pixels, labels = small(job)
    for few, classes in batches(pixels[rank :: job.ranks], labels[rank :: job.ranks], job.batch, rank):
        yield _laid_out(few), torch.from_numpy(classes).long()


def _laid_out(pixels: Any) -> Tensor:
    """(images, height, width, channels) as a tensor (images, channels, height, width) of the same memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def main() -> None:
    """Trains."""
    job = read_job()
    compiled = "--compile" in sys.argv
    torch.set_num_threads(job.threads)
    distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    clock, work = Clock(job), job.task
    net = network(work).to(memory_format=torch.channels_last)
    count = parameters(net)
    model: nn.Module = DistributedDataParallel(net)
    if compiled:
        model = torch.compile(model)
    if work.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), work.rate)
    else:
        optimizer = torch.optim.SGD(model.parameters(), work.rate, momentum=work.momentum)
    entropy = nn.CrossEntropyLoss()
    half = job.precision == "mixed_bfloat16"
    for pixels, labels in images(job, rank):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = model(pixels)
        loss = entropy(outputs.float(), labels)
        loss.backward()
        optimizer.step()
        clock.step(loss.item())
        if clock.over:
            break
    if rank == 0:
        net.eval()
        with torch.no_grad():
            clock.write(count, lambda pixels: net(_laid_out(pixels)).numpy())
    distributed.barrier()  # a rank that leaves while another still talks to it aborts that one
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
