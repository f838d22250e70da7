"""A suite: studies that are measured one after the other, as a YAML file lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpcdl.config.explain import explain
from hpcdl.config.yamlfile import parse, read
from hpcdl.errors import ConfigError
from hpcdl.launch.folder import SUITE, prepare
from hpcdl.records import read_json, write_json

Positive = Annotated[int, Field(ge=1)]
NAME = r"^[a-z0-9][a-z0-9._-]*$"


class Part(BaseModel):
    """A part of a suite, closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SuiteStudy(Part):
    """One study; what a key means, `hpcdl bench scaling --help` tells of the option of that name."""

    name: Annotated[str, Field(pattern=NAME)]
    """Of its folder, and of its series in a report."""
    recipe: str
    """A recipe's name or file."""
    overrides: list[str] = []
    """key=value."""
    ranks: list[Positive] = [1, 2]
    """World sizes."""
    mode: Literal["weak", "strong", "both"] = "weak"
    """What stays: the batch a rank, or the global batch."""
    engines: list[Literal["mpi", "horovod"]] | None = None
    """Side by side; null: the recipe's own."""
    input: list[Literal["real", "synthetic"]] = ["real"]
    """Side by side; real images that are not there are left out where synthetic ones are asked for too."""
    repeats: Positive = 5
    """Starts of each point."""
    steps: Positive = 20
    """Measured steps of each start."""
    warmup: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Steps before them, or auto."""
    to_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Also train to this test accuracy, on real images; null: not."""
    accuracy_repeats: Positive = 1
    """Starts of each that do."""
    oversubscribe: bool = False
    """Allow more ranks than cores."""

    @model_validator(mode="after")
    def _each_once(self) -> SuiteStudy:
        for key in ("ranks", "engines", "input"):
            values = getattr(self, key)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise ValueError(f"{key} with one value or more, each once, and not {values}")
        return self


class Suite(Part):
    """The file."""

    about: str = ""
    """For readers."""
    studies: list[SuiteStudy]
    """In their order."""

    @model_validator(mode="after")
    def _has_names(self) -> Suite:
        names = [study.name for study in self.studies]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"studies, one or more, each with a name of its own, and not {names}")
        return self


def load_suite(path: Path) -> Suite:
    """Reads a suite.

    Raises:
        ConfigError: the file, a key or a value is not usable; it names the key and what is valid.
    """
    text = read(path, "a suite in YAML", "see benchmarks/suites in the repository")
    document = parse(text, str(path), "see benchmarks/suites in the repository")
    try:
        return Suite.model_validate(document)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        if len(place) < 2 or place[0] != "studies" or not isinstance(place[1], int):
            raise explain(error, Suite, str(path), "studies in every suite") from None
        listed = document["studies"][place[1]]
        try:  # the list's place says little; the study is told by its number, and its key by name
            SuiteStudy.model_validate(listed)
        except ValidationError as inner:
            where = f"{path}, study {place[1] + 1}"
            raise explain(inner, SuiteStudy, where, "name and recipe in every study") from None
        raise


def open_suite(folder: Path, suite: Suite, *, overwrite: bool) -> None:
    """Makes the folder of a suite, or opens that of the same suite to go on in.

    Raises:
        ConfigError: it holds something else, or began with another suite.
    """
    now, earlier = suite.model_dump(mode="json"), folder / SUITE
    if earlier.is_file() and not overwrite:
        then = read_json(earlier, fix="measure again, with another --out")
        if then != now:
            changed = _changed(then, now)
            raise ConfigError(
                f"--out {folder}, which began with another suite ({changed})",
                "the suite that it began with",
                "take the change back, or choose another --out, or add --overwrite, which measures all again",
            )
        return
    if not earlier.is_file():
        prepare(folder, overwrite=False)
    write_json(earlier, now)


def _changed(then: object, now: dict[str, object]) -> str:
    """The names of the studies that are not as they were."""
    old, new = ({study["name"]: study for study in _studies(each)} for each in (then, now))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return "changed: " + ", ".join(map(str, names)) if names else "its studies' order or description changed"


def _studies(document: object) -> list[dict[str, object]]:
    listed = document.get("studies", []) if isinstance(document, dict) else []
    return [study for study in listed if isinstance(study, dict) and "name" in study]
