"""The devices of this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import _gatescan
from .errors import UsageError


@dataclass(frozen=True)
class Device:
    """A device that computes.

    Attributes
    ----------
    index : int or None
        The index of a GPU adapter; None for the CPU.
    name : str
        Its name, such as ``Radeon 780M``; ``cpu`` for the CPU.
    kind : str
        ``discrete``, ``integrated``, ``virtual``, ``other``, ``software`` or ``cpu``.
    backend : str
        ``vulkan``, ``metal`` or ``dx12``; empty for the CPU.
    is_default : bool
        Whether ``device="auto"`` chooses it.
    details : dict
        Driver, sizes in bytes and optional features, as `gatescan devices --json` names them.
    """

    index: int | None
    name: str
    kind: str
    backend: str
    is_default: bool
    details: dict[str, Any]

    @property
    def request(self) -> str:
        """The value of ``device=`` that chooses this device."""
        return "cpu" if self.index is None else str(self.index)


def devices() -> list[Device]:
    """Return the GPU adapters of this machine, and the CPU.

    Returns
    -------
    list of Device
        The adapters by index, then the CPU.
    """
    text, chosen, why = _gatescan.devices()
    adapters = [*json.loads(text), {"index": None, "name": "cpu", "kind": "cpu", "backend": ""}]
    found = []
    for adapter in adapters:
        index = adapter.pop("index")
        is_default = chosen == ("cpu" if index is None else str(index))
        named = (adapter.pop("name"), adapter.pop("kind"), adapter.pop("backend"))
        details = {**adapter, "why": why} if is_default else adapter
        found.append(Device(index, *named, is_default, details))
    return found


def device_request(device: str | int | Device | None) -> str:
    """Return the request that the library reads: `auto` for None."""
    if device is None:
        return "auto"
    if isinstance(device, Device):
        return device.request
    if isinstance(device, bool) or not isinstance(device, (str, int)):
        raise UsageError(
            f"device is of the type {type(device).__name__}; it must be a text such as 'cpu', "
            "the index of an adapter, or one of gatescan.devices()"
        )
    return str(device)
