"""Models of the YAML files under ``config/``, and errors that a user can act on.

Reading stops at the first mistake with one `ConfigError`: file and line, key,
value, what is allowed, and the nearest valid name. Nothing here imports torch
or xarray: the Snakefile reads configuration each time it is parsed.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from regimes.data.catalog import CATALOG
from regimes.environment import check_environment, no_folder
from regimes.messages import ConfigError, nearest, shortened, shown
from regimes.yaml_files import load_yaml, shown_path

Scale = Literal["smoke", "laptop", "images", "gpu", "paper"]
SCALES: tuple[str, ...] = get_args(Scale)
# Scales at which only some experiments have runs: figures that lack theirs are left out.
PARTIAL_SCALES = ("images",)
WHOLE_SCALES = tuple(scale for scale in SCALES if scale not in PARTIAL_SCALES)
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=80)]
FigureName = Annotated[str, Field(pattern=r"^[a-z0-9_A]+$", max_length=80)]
STUDIES = Path(__file__).parent / "studies"  # their code
ClaimName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_]+$", max_length=80)]  # no file is named so


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSettings(_Strict):
    """Base of every study's run settings: frozen, validated, one seed.

    Attributes
    ----------
    TABLES
        For a setting that names an entry of a module-level dict, that dict as
        ``"module:NAME"``: only named entries count towards the run's code
        fingerprint (`regimes.fingerprint`).
    START
        Whether the training function takes a start point: "never", "may", "must".
    """

    TABLES: ClassVar[dict[str, str]] = {}
    START: ClassVar[str] = "never"

    # No setting is infinite or not a number; runs with such would not compare equal to themselves.
    model_config = ConfigDict(allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(description="seed of the run")

    @classmethod
    def expand(cls, point: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """Runs that one point of a grid stands for; the point itself unless a study says more.

        A study overrides this where one axis depends on others, such as a window of learning
        rates that moves with another setting. It raises ValueError for the user's mistakes.
        """
        return [point]

    def pretrained(self) -> str | None:
        """Network of torchvision whose weights the run reads (`regimes.data.files.weights`)."""
        return None


class ScaleConfig(_Strict):
    """The runs of one experiment at one scale: a union of grids.

    In a grid a list is an axis, a scalar a constant, ``{from, to, step}`` an evenly spaced axis
    with both ends, and ``seeds: k`` stands for the seeds 0 to k-1.
    """

    settings: dict[str, Any] = {}
    grids: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Experiment(_Strict):
    """A named sweep of runs."""

    title: str
    train: Name = Field(description="kind of run: a name in the study's settings.KINDS")
    split: str = Field(description="setting whose values get a results file each")
    start: Name | None = Field(None, description="start point: a name in the study's starts")
    settings: dict[str, Any] = {}
    scales: dict[Scale, Scale | ScaleConfig]

    @model_validator(mode="after")
    def _aliases(self) -> Experiment:
        for scale, value in self.scales.items():
            if isinstance(value, str) and not isinstance(self.scales.get(value), ScaleConfig):
                raise ValueError(f"scale {scale} refers to {value}, which has no grids of its own")
        return self

    def at(self, scale: str) -> ScaleConfig | None:
        """Grids at a scale (following an alias), or None where it has none."""
        value = self.scales.get(scale)
        return self.scales[value] if isinstance(value, str) else value


class Start(_Strict):
    """What runs of one experiment hand on to runs of others, for instance final weights."""

    title: str
    experiment: Name
    keep: Annotated[list[str], Field(min_length=1, description="variables that are handed on")]


class Analysis(_Strict):
    """A measurement on finished runs; its module bears its name."""

    title: str
    experiments: list[Name] = []
    only: dict[Name, Annotated[list[Scale], Field(min_length=1)]] = Field(
        default={}, description="experiments that are read at some scales only"
    )

    @model_validator(mode="after")
    def _only_listed(self) -> Analysis:
        for name in self.only:
            if name not in self.experiments:
                raise ValueError(f"only: '{name}' is none of the experiments of this analysis")
        return self

    def reads(self, experiment: str, scale: str) -> bool:
        """Whether a listed experiment is read at a scale."""
        return scale in self.only.get(experiment, [scale])


class Figure(_Strict):
    """A figure or table; its module bears its name."""

    title: str
    caption: str
    analyses: Annotated[list[Name], Field(min_length=1)]


class Claim(_Strict):
    """One number of the paper and the interval in which it is expected."""

    id: ClaimName
    figure: FigureName
    statement: str
    quantity: str
    expected: tuple[float, float]
    scales: Annotated[list[Scale], Field(min_length=1)]
    source: str
    seeds: Annotated[int, Field(ge=1)]
    delicate: bool = False
    explanation: str | dict[Scale, str] = Field(
        "", description="why a verdict other than reproduced comes about at laptop or other scales"
    )

    def explained(self, scale: str) -> str:
        """Explanation of the verdict at a scale; plain text is about the laptop scale."""
        if isinstance(self.explanation, str):
            return self.explanation if scale == "laptop" else ""
        return self.explanation.get(scale, "")

    @field_validator("expected")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if math.isnan(value[0]) or math.isnan(value[1]) or value[0] > value[1]:
            raise ValueError("expected must be [low, high] with low <= high")
        return value


class Paper(_Strict):
    """Citation of the paper that a study redraws."""

    title: str
    authors: str
    venue: str


class Study(_Strict):
    """One file ``config/studies/<study>.yaml``."""

    study: Name
    title: str
    paper: Paper
    experiments: dict[Name, Experiment]
    starts: dict[Name, Start] = {}
    analyses: dict[Name, Analysis]
    figures: dict[FigureName, Figure]
    claims: list[Claim]


class Main(_Strict):
    """The file ``config/config.yaml``."""

    scale: Scale = Field("laptop", description="scale of the target figures/all")
    studies: Annotated[list[Name], Field(min_length=1)] = Field(
        description="studies, in the order of the gallery"
    )
    data: str = Field("data", description="folder of the image data sets")
    substitutes: dict[Name, Name] = Field(
        default={}, description="data sets that are to be used in place of others"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("studies")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a study is listed twice")
        return value

    @field_validator("data")
    @classmethod
    def _folder(cls, value: str) -> str:
        wrong = no_folder(value)
        if wrong:
            raise ValueError(wrong)
        return value


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[tuple, str]:
    """Turn the first error of a pydantic validation into (key path, message)."""
    # A misspelt key also leaves the right one missing: name the misspelling.
    errors = error.errors()
    # Where a scale is a mapping, that it could have been a name is no help.
    errors = [e for e in errors if not _is_other_branch(e)] or errors
    first = min(errors, key=lambda e: e["type"] == "missing")
    # pydantic adds union member names to the location; keep the keys of the file.
    location = tuple(p for p in first["loc"] if p not in ("ScaleConfig", "[key]", "function-after"))
    location = tuple(p for p in location if not str(p).startswith(("literal[", "tuple[")))
    kind, value = first["type"], first.get("input")
    if kind == "extra_forbidden":
        names = _fields_at(model, location[:-1])
        return location, f"is not a known key; {nearest(location[-1], names)}"
    if kind == "missing":
        return location, "is missing"
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return location, f"got {shown(value)}; {nearest(value, names)}{_read_as(value)}"
    if kind == "string_pattern_mismatch":
        letters = "a-z, A-Z" if location[-1:] == ("id",) else "a-z"
        letters = "a-z, A" if location[:1] == ("figures",) and len(location) == 2 else letters
        return location, f"got {shown(value)}: only {letters}, 0-9 and _ are allowed"
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if kind == "value_error" and isinstance(value, dict):
        return location, message
    hint = _read_as(value) if kind == "string_type" else ""
    return location, f"got {shown(value)}: {message[0].lower()}{message[1:]}{hint}"


def _read_as(value: Any) -> str:
    """Reminder of what YAML makes of some words."""
    if not isinstance(value, bool):
        return ""
    return " (yes, no, on and off mean true and false; put them into quotes)"


def _is_other_branch(error: dict[str, Any]) -> bool:
    return error["type"] == "literal_error" and isinstance(error.get("input"), dict)


def _fields_at(model: type[BaseModel], location: tuple) -> list[str]:
    """Field names of the model found by following a key path."""
    current: Any = model
    for key in location:
        if _is_model(current):
            field = current.model_fields.get(key)
            current = field.annotation if field else None
        else:  # dict[name, model] or list[model]
            current = (get_args(current) or (None,))[-1]
        while current is not None and get_origin(current) in (Union, UnionType, Annotated):
            current = next((a for a in get_args(current) if _is_model(a)), None)
    return list(current.model_fields) if _is_model(current) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _place(path: Path, lines: Mapping[tuple, int], location: tuple) -> str:
    """File, line and dotted key of a location, by its longest known prefix."""
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            break
    line = lines.get(location[:end])
    key = ".".join(shortened(str(part)) for part in location)
    return f"{shown_path(path)}{f':{line}' if line and location else ''}: {key or 'the file'}"


def _read(path: Path, model: type[BaseModel]) -> tuple[Any, dict[tuple, int]]:
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{shown_path(path)}: must be a mapping of keys to values")
    try:
        return model.model_validate(data), lines
    except ValidationError as error:
        location, message = explain(error, model)
        raise ConfigError(f"{_place(path, lines, location)} {message}") from None


class Config:
    """All configuration of a checkout.

    Parameters
    ----------
    root
        Folder that holds ``config/``.
    only
        The one study that is read, for a job that needs no other; empty for all.

    Attributes
    ----------
    main : Main
    studies : dict[str, Study]
        In the order of ``config/config.yaml``.
    """

    def __init__(self, root: Path | str = ".", only: str = ""):
        self.root = Path(root)
        self.folder = self.root / "config"
        self.main, self._main_lines = _read(self.folder / "config.yaml", Main)
        self._check_substitutes()
        available = [p.stem for p in sorted((self.folder / "studies").glob("*.yaml"))]
        self.studies: dict[str, Study] = {}
        self._lines: dict[str, dict[tuple, int]] = {}
        for i, study in enumerate(self.main.studies):
            if study not in available:
                raise self.main_error(
                    ("studies", i),
                    f"got '{study}': there is no config/studies/{study}.yaml; "
                    f"{nearest(study, available)}",
                )
            self._check_code(i, study)
            if only not in ("", study):
                continue
            self.studies[study], self._lines[study] = _read(self.path(study), Study)
            self._check_references(study)
        if only and only not in self.studies:
            raise ConfigError(f"study: got '{only}'; {nearest(only, self.main.studies)}")

    def path(self, study: str) -> Path:
        """File of a study's configuration."""
        return self.folder / "studies" / f"{study}.yaml"

    def error(self, study: str, location: tuple, message: str) -> ConfigError:
        """Return an error that points at a key of a study's file."""
        place = _place(self.path(study), self._lines[study], location)
        return ConfigError(f"{place} {message}")

    def main_error(self, location: tuple, message: str) -> ConfigError:
        """Return an error that points at a key of ``config/config.yaml``."""
        place = _place(self.folder / "config.yaml", self._main_lines, location)
        return ConfigError(f"{place} {message}")

    def kinds(self, study: str) -> dict[str, type[RunSettings]]:
        """Run settings models of a study, by kind."""
        return importlib.import_module(f"regimes.studies.{study}.settings").KINDS

    def _check_code(self, index: int, study: str) -> None:
        """A study has code, and a name that no file of the pipeline bears."""
        known = [p.parent.name for p in STUDIES.glob("*/settings.py")]
        if study not in known:
            raise self.main_error(
                ("studies", index),
                f"got '{study}': there is no src/regimes/studies/{study}/settings.py; "
                f"{nearest(study, known)}",
            )
        if study == "all":
            raise self.main_error(
                ("studies", index), "got 'all': figures/<scale>/all is a file; name it differently"
            )

    def _check_substitutes(self) -> None:
        """Substitutes and what they stand for are image data sets."""
        for name, other in self.main.substitutes.items():
            for each in (name, other):
                if each not in CATALOG:
                    raise self.main_error(
                        ("substitutes", name),
                        f"got '{each}': no image data set; {nearest(each, CATALOG)}",
                    )

    def _check_modules(self, study: str) -> None:
        """Each analysis and figure needs the module that bears its name."""
        folder = STUDIES / study
        for section in ("analyses", "figures"):
            present = [p.stem for p in (folder / section).glob("*.py") if p.stem != "__init__"]
            for name in getattr(self.studies[study], section):
                if name not in present:
                    raise self.error(
                        study,
                        (section, name),
                        f"has no module src/regimes/studies/{study}/{section}/{name}.py; "
                        f"{nearest(name, present)}",
                    )

    def _check_file_names(self, study: str) -> None:
        """No two files have one name, also where capital letters do not count."""
        config = self.studies[study]
        taken = {"claims": "the claims table", "all": "the manifest"}  # that have logs
        for section, what in (("analyses", "analysis"), ("figures", "figure")):
            for name in getattr(config, section):
                if name.lower() in taken:
                    raise self.error(
                        study,
                        (section, name),
                        f"has the name of {taken[name.lower()]}; their logs would be one file",
                    )
                taken[name.lower()] = f"the {what} {name}"

    def _check_starts(self, study: str) -> None:
        """Start points exist, have runs where they are needed, and do not go round in circles."""
        experiments, starts = self.studies[study].experiments, self.studies[study].starts
        for name, entry in starts.items():
            if entry.experiment not in experiments:
                raise self.error(
                    study,
                    ("starts", name, "experiment"),
                    f"got '{entry.experiment}': unknown; {nearest(entry.experiment, experiments)}",
                )
        for name, experiment in experiments.items():
            where = ("experiments", name, "start")
            takes = self.kinds(study)[experiment.train].START
            if experiment.start is None and takes == "must":
                raise self.error(
                    study, where[:2], f"has no start; runs of kind {experiment.train} need one"
                )
            if experiment.start is not None and takes == "never":
                raise self.error(study, where, f"runs of kind {experiment.train} take no start")
            if experiment.start is not None and experiment.start not in starts:
                raise self.error(
                    study,
                    where,
                    f"got '{experiment.start}': unknown; {nearest(experiment.start, starts)}",
                )
        for name, experiment in experiments.items():
            passed, current = [name], experiment
            while current.start is not None:
                before = starts[current.start].experiment
                if before in passed:
                    circle = " -> ".join([*passed, before])
                    raise self.error(
                        study, ("experiments", name, "start"), f"goes round in a circle: {circle}"
                    )
                for scale in current.scales:
                    if experiments[before].at(scale) is None:
                        raise self.error(
                            study,
                            ("experiments", passed[-1], "scales", scale),
                            f"starts from {before}, which has no scale '{scale}'",
                        )
                passed.append(before)
                current = experiments[before]

    def _check_references(self, study: str) -> None:
        config = self.studies[study]
        if config.study != study:
            raise self.error(study, ("study",), f"got '{config.study}': must be '{study}'")
        kinds = self.kinds(study)
        for name, experiment in config.experiments.items():
            if experiment.train not in kinds:
                raise self.error(
                    study,
                    ("experiments", name, "train"),
                    f"got '{experiment.train}'; {nearest(experiment.train, kinds)}",
                )
            fields = kinds[experiment.train].model_fields
            if experiment.split not in fields:
                raise self.error(
                    study,
                    ("experiments", name, "split"),
                    f"got '{shortened(experiment.split)}', not a setting of {experiment.train}; "
                    f"{nearest(experiment.split, fields)}",
                )
        self._check_starts(study)
        self._check_file_names(study)
        self._check_modules(study)
        used = {
            "analyses": ("experiments", config.experiments),
            "figures": ("analyses", config.analyses),
        }
        for section, (field, valid) in used.items():
            for name, entry in getattr(config, section).items():
                for i, reference in enumerate(getattr(entry, field)):
                    if reference not in valid:
                        raise self.error(
                            study,
                            (section, name, field, i),
                            f"got '{reference}': unknown; {nearest(reference, valid)}",
                        )
        seen: set[str] = set()
        for i, claim in enumerate(config.claims):
            if claim.figure not in config.figures:
                raise self.error(
                    study,
                    ("claims", i, "figure"),
                    f"got '{claim.figure}': unknown; {nearest(claim.figure, config.figures)}",
                )
            if claim.id in seen:
                raise self.error(study, ("claims", i, "id"), f"got '{claim.id}': stands twice")
            seen.add(claim.id)


@functools.cache
def load(root: Path | str = ".", only: str = "") -> Config:
    """Read and check the configuration of a checkout and the environment (once per process).

    Parameters
    ----------
    root, only
        As for `Config`.

    Raises
    ------
    ConfigError
        For the first mistake in a file or an environment variable.
    """
    check_environment()
    if os.pathsep in str(Path(root).resolve()):
        raise ConfigError(
            f"{Path(root).resolve()}: the path of this folder has a '{os.pathsep}', at which "
            "PYTHONPATH would be divided; rename or move it"
        )
    return Config(root, only)
