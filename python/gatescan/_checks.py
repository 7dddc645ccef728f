"""Checks and measurements of devices."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from . import _gatescan
from ._devices import Device, device_request
from ._recipe import RecipeLike, as_json
from ._training import Report


@dataclass(frozen=True)
class Verification:
    """The results of `gatescan.verify`.

    Attributes
    ----------
    passed : bool
        Whether every element is within the bound that rounding explains.
    cases : int
        Programs that were played.
    kernels : dict
        For each kernel its cases, calls, elements and largest errors.
    failures : list of dict
        For each kernel and case that failed, the element with the largest error.
    """

    passed: bool
    cases: int
    kernels: dict[str, Any] = field(repr=False)
    failures: list[dict[str, Any]]


def verify(device: str | int | Device | None = None, *, full: bool = False) -> Verification:
    """Check every kernel on a device against float64, with error bounds.

    Parameters
    ----------
    device : str, int or Device, optional
        As of `gatescan.train`.
    full : bool, default False
        Whether to check more sizes and options, which takes minutes.

    Returns
    -------
    Verification
    """
    found = json.loads(_gatescan.verify_kernels(device_request(device), full))
    return Verification(found["passed"], found["cases"], found["kernels"], found["failures"])


@dataclass(frozen=True)
class Profile:
    """The profile of a training step.

    Attributes
    ----------
    sites : list of dict
        For each kernel call its kernel, phase, time and share.
    details : dict
        All that `gatescan profile --json` prints.
    """

    sites: list[dict[str, Any]]
    details: dict[str, Any]
    _page: str

    def report(self) -> Report:
        """Return the profile as an HTML page."""
        return Report(self._page)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def profile(
    recipe: RecipeLike, *, device: str | int | Device | None = None, steps: int = 20
) -> Profile:
    """Measure the time of each kernel call of a training step.

    Parameters
    ----------
    recipe : dict, str or path
        As of `gatescan.train`, with its own data.
    device : str, int or Device, optional
        As of `gatescan.train`.
    steps : int, default 20
        Steps to measure.

    Returns
    -------
    Profile
    """
    text = _gatescan.change_recipe(as_json(recipe), [], None)
    data = _gatescan.Data.load(text)
    found, page = _gatescan.profile_step(text, data, device_request(device), steps)
    details = json.loads(found)
    return Profile(details["sites"], details, page)
