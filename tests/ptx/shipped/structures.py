"""Arguments that kernels take as structures, as csrc/cuda lays them out for fp32 arithmetic."""

from ctypes import Structure, c_bool, c_float, c_int, c_int64, c_uint64

Pointer = c_uint64


class Power(Structure):
    _fields_ = (("exponent", c_float), ("whole", c_int))

    @classmethod
    def of(cls, exponent: float):
        return cls(exponent, int(exponent) if exponent == int(exponent) and exponent <= 16 else -1)


class SigmoidSettings(Structure):
    _fields_ = (
        *((name, Power) for name in ("positive", "negative", "unknown")),
        ("margin", c_float),
        ("detach_focus", c_bool),
        ("ignore_unknown", c_bool),
    )


VECTORS = ("positive_scale", "positive_shift", "negative_scale", "negative_shift", "positive_weight", "negative_weight")


class SigmoidInput(Structure):
    _fields_ = (
        *((name, Pointer) for name in ("logits", "targets", *VECTORS, "weight", "counted")),
        ("settings", SigmoidSettings),
        ("rows", c_int64),
        ("classes", c_int),
    )


class Upstream(Structure):
    _fields_ = (("values", Pointer), ("of_rows", c_bool), ("factor", c_float), ("device_factor", Pointer))


class LsepInput(Structure):
    _fields_ = (("logits", Pointer), ("targets", Pointer), ("rows", c_int64), ("classes", c_int))


class SoftmaxInput(Structure):
    _fields_ = (
        *((name, Pointer) for name in ("logits", "teacher", "labels", "log_prior")),
        *((name, c_float) for name in ("temperature", "power", "alpha")),
        ("rows", c_int64),
        ("classes", c_int),
    )


class Tile(Structure):
    _fields_ = (
        ("dots", Pointer),
        ("first", c_int64),
        ("columns", c_int),
        ("labels", Pointer),
        ("loss", Pointer),
        ("upstream", Upstream),
        ("gradient", c_bool),
    )
