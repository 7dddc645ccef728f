"""Signatures of the extension module, which `python/src` makes."""

__version__: str

def devices() -> tuple[str, str, str]: ...
def command(arguments: list[str]) -> int: ...

_Address = tuple[int, int]
_States = list[_Address | None]

class LayerStack:
    def __init__(self, options: tuple[str, int, int, int, int, bool, bool, float], /) -> None: ...
    def parameters(self) -> list[tuple[str, list[int]]]: ...
    def forward(
        self,
        given: tuple[bool, int, int, list[int] | None, int, int, _Address, _States, list[_Address]],
        emitted: tuple[_Address | None, _States],
        keeps: bool,
    ) -> numpy.typing.NDArray[numpy.uint8] | None: ...
    def backward(
        self,
        given: tuple[bool, int, int, list[int] | None, int, int, _Address, _States, list[_Address]],
        reserve: int,
        upstream: tuple[_Address | None, _States],
        gradients: tuple[_Address | None, _States, list[_Address | None]],
    ) -> None: ...

def set_layer_device(request: str) -> str: ...
def layer_device() -> str: ...
