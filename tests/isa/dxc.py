"""Compiles the dumped HLSL with DXC, as wgpu does, and writes code sizes and times.

    python3 dxc.py LIBDXCOMPILER DUMP PROFILE OUT
"""
import ctypes
import json
import sys
import time
import uuid
from pathlib import Path

COMPILER = uuid.UUID("73e22d93-e6ce-47f3-b5bf-f0664f39c1b0")
ICOMPILER3 = uuid.UUID("228b4687-5a6a-4730-900c-9702b2203f54")
IRESULT = uuid.UUID("58346cda-dde7-4497-9461-6f87af5e0659")
# The arguments of wgpu; subgroups need shader model 6.
ARGUMENTS = ["-E", "main", "-T", "cs_6_0", "-HV", "2018", "-no-warnings", "-Ges"]
# For shaders with f16.
HALVES = [*ARGUMENTS[:3], "cs_6_2", *ARGUMENTS[4:], "-enable-16bit-types"]
UTF8 = 65001
# Positions in the tables of methods of dxcapi.h; IUnknown has the first three.
COMPILE, STATUS, RESULT, ERRORS, POINTER, SIZE = 3, 3, 4, 5, 3, 4


class Buffer(ctypes.Structure):
    """DxcBuffer."""

    _fields_ = [
        ("pointer", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("encoding", ctypes.c_uint32),
    ]


def guid(value):
    return ctypes.create_string_buffer(value.bytes_le, 16)


def method(this, position, result, *types):
    table = ctypes.cast(this, ctypes.POINTER(ctypes.c_void_p))[0]
    address = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[position]
    call = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *types)(address)
    return lambda *arguments: call(this, *arguments)


def blob(result, position):
    """Returns the bytes that a method of a result writes into a blob."""
    pointer = ctypes.c_void_p()
    method(result, position, ctypes.c_int32, ctypes.c_void_p)(ctypes.byref(pointer))
    if not pointer.value:
        return b""
    address = method(pointer.value, POINTER, ctypes.c_void_p)()
    return ctypes.string_at(address, method(pointer.value, SIZE, ctypes.c_size_t)())


class Dxc:
    """The compiler of a libdxcompiler."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        self.compiler = ctypes.c_void_p()
        create = library.DxcCreateInstance
        create.argtypes = [ctypes.c_void_p] * 3
        code = create(guid(COMPILER), guid(ICOMPILER3), ctypes.byref(self.compiler))
        if code:
            sys.exit(f"{path}: DxcCreateInstance returned {code & 0xFFFFFFFF:#x}")

    def compile(self, source):
        """Returns the object of a shader, or None, and the messages."""
        buffer = Buffer(source, len(source), UTF8)
        arguments = HALVES if b"half" in source else ARGUMENTS
        arguments = (ctypes.c_wchar_p * len(arguments))(*arguments)
        result = ctypes.c_void_p()
        types = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32] + [ctypes.c_void_p] * 3
        call = method(self.compiler.value, COMPILE, ctypes.c_int32, *types)
        code = call(
            ctypes.byref(buffer), arguments, len(arguments), None, guid(IRESULT),
            ctypes.byref(result),
        )
        if code:
            return None, f"Compile returned {code & 0xFFFFFFFF:#x}"
        status = ctypes.c_int32()
        get_status = method(result.value, STATUS, ctypes.c_int32, ctypes.c_void_p)
        get_status(ctypes.byref(status))
        messages = blob(result.value, ERRORS).decode(errors="replace").strip("\0\n ")
        return (None if status.value else blob(result.value, RESULT)), messages


def main():
    library, dump, profile, out = sys.argv[1:]
    dxc = Dxc(library)
    dump = Path(dump)
    lines = []
    for each in json.loads((dump / "index.json").read_text()):
        if profile not in each["profiles"]:
            continue
        source = (dump / f"{each['stem']}.hlsl").read_bytes()
        start = time.perf_counter()
        made, messages = dxc.compile(source)
        seconds = time.perf_counter() - start
        line = {"name": each["name"], "seconds": round(seconds, 3)}
        if made is None:
            line["error"] = messages
        else:
            line["code"] = len(made)
        lines.append(json.dumps(line) + "\n")
    Path(out).write_text("".join(lines))


main()
