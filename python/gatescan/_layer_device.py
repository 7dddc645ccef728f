"""The device that computes the layers of ``gatescan.torch`` and ``gatescan.keras``."""

from __future__ import annotations

from . import _gatescan


def set_device(device: str | int) -> str:
    """Choose where the layers of ``gatescan.torch`` and ``gatescan.keras`` compute.

    Parameters
    ----------
    device
        ``"auto"`` (a hardware GPU, else the CPU; the default), ``"cpu"``, ``"gpu"``, the index of
        an adapter in ``gatescan.devices()``, or a part of its name. With ``"auto"`` float64 is
        computed on the CPU; a GPU that was chosen by name refuses it.

    Returns
    -------
    str
        The device's name.
    """
    return _gatescan.set_layer_device(str(device))


def get_device() -> str:
    """Return the name of the device that computes layers, and open it if none was used yet."""
    return _gatescan.layer_device()
