"""Recurrent layers in the place of PyTorch's, computed by gatescan on the CPU or any GPU.

``gatescan.torch.LSTM``, ``GRU`` and ``RNN`` have the constructors, parameters and results of
``torch.nn``'s; :func:`replace_` exchanges the layers of a whole model. ``gatescan.set_device``
chooses where they compute.
"""

from ._modules import (
    GRU,
    LSTM,
    RNN,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    RecurrentBase,
    ResetBeforeGRU,
)
from ._replace import replace_, restore_

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "RecurrentBase",
    "ResetBeforeGRU",
    "replace_",
    "restore_",
]
