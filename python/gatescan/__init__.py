"""Trains recurrent networks (RNN, LSTM, GRU) on any Vulkan, Metal or DX12 GPU, and on the CPU."""

from ._checks import Profile, Verification, profile, verify
from ._devices import Device, devices
from ._gatescan import __version__
from ._layer_device import get_device, set_device
from ._model import Forecast, Model, Prediction
from ._recipe import Proposal, propose, recipe, to_toml
from ._training import STOP, Epoch, Progress, Report, Run, resume, train
from .errors import (
    DataError,
    DeviceError,
    Error,
    FileError,
    NotFiniteError,
    RoomError,
    TrainingWarning,
    UsageError,
)

__all__ = [
    "STOP",
    "DataError",
    "Device",
    "DeviceError",
    "Epoch",
    "Error",
    "FileError",
    "Forecast",
    "Model",
    "NotFiniteError",
    "Prediction",
    "Profile",
    "Progress",
    "Proposal",
    "Report",
    "RoomError",
    "Run",
    "TrainingWarning",
    "UsageError",
    "Verification",
    "__version__",
    "devices",
    "get_device",
    "profile",
    "propose",
    "recipe",
    "resume",
    "set_device",
    "to_toml",
    "train",
    "verify",
]
