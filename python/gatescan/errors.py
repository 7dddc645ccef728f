"""The exceptions of gatescan.

Every exception is a `gatescan.Error` and has the library's text: what is wrong with which value,
what is allowed, and what to do. Where Python has a class of the same meaning, an exception is
of that class too, so ``except ValueError`` and ``except OSError`` see it.
"""

__all__ = [
    "AmbiguousDeviceError",
    "BatchTooLargeError",
    "DataError",
    "DataMemoryError",
    "DefectError",
    "DeviceError",
    "DeviceLostError",
    "DriverError",
    "Error",
    "FailedError",
    "FileError",
    "InvalidValueError",
    "LimitExceededError",
    "NoAdapterError",
    "NoGpuSupportError",
    "NotFiniteError",
    "OutOfMemoryError",
    "RoomError",
    "ShaderFaultError",
    "TrainingWarning",
    "UndecidedError",
    "UnknownDeviceError",
    "UsageError",
    "WorkLostError",
    "WrongResultError",
]


class Error(Exception):
    """Anything that gatescan refuses, or that fails while it computes."""


class UsageError(Error, ValueError):
    """The request is invalid: an unknown recipe, a misspelt key, or two options at odds."""


class InvalidValueError(UsageError):
    """A field has a value that is not allowed."""


class UnknownDeviceError(UsageError):
    """No adapter has the requested index or name."""


class AmbiguousDeviceError(UsageError):
    """Several adapters have the requested name."""


class DataError(Error, ValueError):
    """The data are not valid, or do not fit the network."""


class FileError(Error, OSError):
    """A file cannot be read or written, or its contents are not what they should be."""


class UndecidedError(FileError):
    """A file can be used only after a decision of the caller."""


class DeviceError(Error, RuntimeError):
    """A device is missing, or it failed."""


class NoAdapterError(DeviceError):
    """The machine has no GPU adapter."""


class NoGpuSupportError(DeviceError):
    """The build has no GPU support."""


class DriverError(DeviceError):
    """The driver refused a request or failed."""


class DeviceLostError(DeviceError):
    """The device was lost."""


class WorkLostError(DeviceError):
    """The driver dropped work but reported it complete."""


class RoomError(Error, MemoryError):
    """The device lacks the room for a program; a smaller one may fit."""


class OutOfMemoryError(RoomError):
    """The device has too little free memory."""


class DataMemoryError(RoomError):
    """The data and the window that streams them need more device memory than is granted."""


class LimitExceededError(RoomError):
    """A size is beyond a limit of the device or of a kernel."""


class BatchTooLargeError(RoomError):
    """The program does not fit the device with the requested batch size."""


class NotFiniteError(Error, ArithmeticError):
    """A loss, the norm of a gradient, a parameter or a moment is not finite."""


class DefectError(Error, RuntimeError):
    """gatescan has a defect; please report it."""


class WrongResultError(Error, RuntimeError):
    """The result of a kernel is further from its f64 reference than rounding explains."""


class ShaderFaultError(Error, RuntimeError):
    """The interpreter found a kernel that breaks a rule of WGSL or of gatescan."""


class FailedError(Error, RuntimeError):
    """Anything else that fails at run time, in the environment rather than in the request."""


class TrainingWarning(UserWarning):
    """A problem that does not end a run, or a property of the data worth knowing."""
