"""The exchange of ``torch.nn``'s recurrent layers for those of gatescan, and back."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import nn

from ._modules import GRU, LSTM, RNN, RecurrentBase

_PAIRS: tuple[tuple[type[nn.RNNBase], type[RecurrentBase]], ...] = (
    (nn.RNN, RNN),
    (nn.LSTM, LSTM),
    (nn.GRU, GRU),
)

#: What a layer has beside its parameters and options.
_KEPT = (
    "_buffers",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

_Model = TypeVar("_Model", bound=nn.Module)


def replace_(model: _Model) -> _Model:
    """Replace every ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU`` of a model in place.

    The new layers have the same parameters (the same objects: an optimizer made before keeps
    working), hooks and training mode. A subclass with a ``forward`` of its own is left as it is,
    with a warning.

    Parameters
    ----------
    model
        Any module. A model that is itself one of these layers cannot be changed in place; the new
        layer is returned.

    Returns
    -------
    torch.nn.Module
        The model.
    """
    return _exchange(model, dict(_PAIRS), nn.RNNBase)


def restore_(model: _Model) -> _Model:
    """Undo :func:`replace_`: put ``torch.nn``'s layers back, with the parameters as they are now.

    Layers that PyTorch lacks (``PeepholeLSTM``, ``MinGRU``, ...) are left as they are.
    """
    return _exchange(model, {own: other for other, own in _PAIRS}, None)


def _exchange(
    model: _Model,
    classes: dict[type[nn.RNNBase], type[RecurrentBase]] | dict[type[RecurrentBase], type],
    warn_about: type[nn.Module] | None,
) -> _Model:
    made: dict[int, nn.Module] = {}

    def exchanged(module: nn.Module, name: str) -> nn.Module:
        to = classes.get(type(module))  # type: ignore[arg-type]
        if to is not None:
            return made.setdefault(id(module), _converted(module, to))
        if warn_about is not None and isinstance(module, warn_about):
            warnings.warn(
                f"{name or 'the model'} is a {type(module).__qualname__}, a subclass of PyTorch's "
                "layer, and is not replaced",
                stacklevel=4,
            )
        return module

    root = exchanged(model, "")
    if root is not model:
        return root  # type: ignore[return-value]
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            other = exchanged(child, f"{path}.{name}" if path else name)
            if other is not child:
                parent._modules[name] = other
    return model


def _converted(layer: nn.Module, to: type[nn.Module]) -> nn.Module:
    """Return a layer of another class with the parameters, options and hooks of `layer`."""
    options = {
        name: getattr(layer, name)
        for name in ("num_layers", "bias", "batch_first", "bidirectional")
    }
    if isinstance(layer, (nn.LSTM, LSTM)):
        options["proj_size"] = layer.proj_size
    if isinstance(layer, (nn.RNN, RNN)):
        options["nonlinearity"] = layer.nonlinearity
    made: nn.Module = to(layer.input_size, layer.hidden_size, device="meta", **options)
    made.dropout = layer.dropout
    for name, parameter in layer._parameters.items():
        made._parameters[name] = parameter
    for name in _KEPT:
        if name in layer.__dict__:
            made.__dict__[name] = layer.__dict__[name]
    made.training = layer.training
    if isinstance(made, nn.RNNBase):
        made._init_flat_weights()
    return made
