"""What the stand-in has of CuPy, by name."""

# ruff: noqa: SIM905, C408 - tables of words are easier to read than tables of quotes
from __future__ import annotations

import numpy as np

# CuPy has every one of these, in three tables by what they take first.
UFUNCS = """
    exp expm1 exp2 log log1p log2 log10 logaddexp sin cos tan arctan arctan2 sinh cosh tanh sqrt
    abs absolute sign floor ceil rint trunc negative reciprocal square maximum minimum add subtract
    multiply divide true_divide floor_divide mod power hypot matmul isfinite isnan isinf equal
    not_equal greater greater_equal less less_equal logical_and logical_or logical_not logical_xor
    bitwise_and bitwise_or bitwise_xor invert
""".split()
OF_AN_ARRAY = """
    sum prod mean var std max min amax amin argmax argmin any all cumsum sort argsort count_nonzero
    dot vdot tensordot inner outer round clip isclose allclose array_equal take take_along_axis
    reshape ravel transpose moveaxis swapaxes squeeze expand_dims broadcast_to repeat tile flip roll
    pad split array_split diag tril triu trace copyto nonzero flatnonzero argwhere unique
    zeros_like ones_like empty_like full_like ascontiguousarray
""".split()
OF_ANYTHING = (
    "zeros ones empty full eye arange linspace asarray array concatenate stack where einsum".split()
)
LINALG = "norm cholesky inv solve svd eigh slogdet qr".split()
BORROWED = """
    float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ dtype finfo
    iinfo issubdtype promote_types broadcast_shapes inf nan pi e newaxis
""".split()
QUERIES = "result_type may_share_memory shares_memory".split()
METHODS = """
    sum prod mean var std max min argmax argmin any all cumsum dot round clip take reshape ravel
    flatten transpose swapaxes squeeze astype copy view fill nonzero repeat
""".split()
PROPERTIES = "shape dtype ndim size nbytes itemsize strides flags".split()
BINARY = dict(add="add", sub="subtract", mul="multiply", truediv="true_divide", pow="power")
BINARY |= dict(floordiv="floor_divide", mod="mod", matmul="matmul", xor="bitwise_xor")
BINARY |= {"and": "bitwise_and", "or": "bitwise_or"}
COMPARISONS = dict(lt="less", le="less_equal", gt="greater", ge="greater_equal", eq="equal")
COMPARISONS |= dict(ne="not_equal")
UNARY = dict(neg="negative", pos="positive", abs="absolute", invert="invert")
WAITING = dict(__float__=float, __int__=int, __bool__=bool, __repr__=repr)
WAITING |= dict(__format__=np.ndarray.__format__, item=np.ndarray.item, tolist=np.ndarray.tolist)

CASTS = set("astype view asarray array zeros_like ones_like empty_like full_like".split())
WAIT_FOR_A_SIZE = set("nonzero flatnonzero argwhere unique".split())
INDEXING = set("__getitem__ __setitem__ add.at take take_along_axis".split())
NOT_IN_CUPY = set("where initial subok like signature".split())
NOT_IN_CUPY_FOR = {"einsum": {"out"}, "clip": {"min", "max"}, "reshape": {"shape"}}
IN_PLACE = set("__setitem__ add.at copyto fill".split())
