"""Trains recurrent networks (RNN, LSTM, GRU) on any Vulkan, Metal or DX12 GPU, and on the CPU."""

from ._devices import Device, devices
from ._gatescan import __version__
from ._layer_device import get_device, set_device
from .errors import Error, TrainingWarning

__all__ = [
    "Device",
    "Error",
    "TrainingWarning",
    "__version__",
    "devices",
    "get_device",
    "set_device",
]
