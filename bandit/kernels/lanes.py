"""
Eight numbers side by side, for sums that no compiler may reorder.

A sum in the order of its terms is slow: each addition waits for the one before.  A compiler that
is allowed to reorder it does so as suits the processor, and rounding differs.  Here the order is
written down: a kernel adds term after term to eight lanes, and their total is
((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).  Products are rounded before they are added, not fused,
which costs nothing here and gives the same bits on every processor, however wide its registers.

These functions are called by kernels alone.  LLVM makes an instruction or two of each.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 8
# Rows of a matrix that are read side by side, each with sums of its own.  11 arms at 128 features:
# 10.2 us, against 10.5 with 3, 11.2 with 4 and 12.6 with 8.
CELLS = 6

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(64)
_code: Any = cgutils


class _Lanes(types.Type):
    """Eight numbers."""


class _Cells(types.Type):
    """Eight numbers of each of CELLS rows."""


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Lanes) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


@register_model(_Cells)
class _CellsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Cells) -> None:
        kinds = ir.ArrayType(_VECTOR, CELLS)
        super().__init__(manager, kind, kinds)  # type: ignore[no-untyped-call]


_lanes: Any = _Lanes("Lanes")
_cells: Any = _Cells("Cells")


def _instruction(describe: Callable[..., Any]) -> Any:
    """From types to a signature and what generates the code, as Numba asks for."""
    return intrinsic(describe)


@_instruction
def load(_: Any, array: Any, row: Any, entry: Any) -> Any:
    """The eight entries of a row of a matrix from that one on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _read(builder, _place(context, builder, signature, values))

    return _lanes(array, types.intp, types.intp), generate


@_instruction
def store(_: Any, array: Any, row: Any, entry: Any, lanes: Any) -> Any:
    """Write them to where `load` reads."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[3], _place(context, builder, signature, values), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, _lanes), generate


@_instruction
def times(_: Any, number: Any, lanes: Any) -> Any:
    """Each lane times a number."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fmul(_everywhere(builder, values[0], _VECTOR), values[1])

    return _lanes(types.float64, _lanes), generate


@_instruction
def total(_: Any, lanes: Any) -> Any:
    """The sum of the lanes, pair by pair."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums = [builder.extract_element(values[0], _position(lane)) for lane in range(LANES)]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(sums[lane], sums[lane + half]) for lane in range(half)]
        return sums[0]

    return types.float64(_lanes), generate


@_instruction
def load_cells(_: Any, array: Any, row: Any, entry: Any) -> Any:
    """`load` of CELLS rows from that one on; the last row stands in for those beyond it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        places = _places(context, builder, signature, values)
        return _together(builder, [_read(builder, place) for place in places])

    return _cells(array, types.intp, types.intp), generate


@_instruction
def load_rest(_: Any, array: Any, row: Any, entry: Any, count: Any) -> Any:
    """`load_cells` where only so many entries are left of a row: 0 in the lanes beyond."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        indices = ir.VectorType(_INDEX, LANES)
        present = builder.icmp_signed(
            "<",
            ir.Constant(indices, list(range(LANES))),
            _everywhere(builder, values[3], indices),
        )
        places = _places(context, builder, signature, values)
        alignment, zeros = ir.Constant(ir.IntType(32), 8), ir.Constant(_VECTOR, [0.0] * LANES)
        kind = ir.FunctionType(_VECTOR, [places[0].type, alignment.type, present.type, zeros.type])
        masked = _code.get_or_insert_function(
            builder.module, kind, f"llvm.masked.load.v{LANES}f64.p0"
        )
        read = [builder.call(masked, [place, alignment, present, zeros]) for place in places]
        return _together(builder, read)

    return _cells(array, types.intp, types.intp, types.intp), generate


@_instruction
def plus_products(_: Any, sums: Any, cells: Any, lanes: Any) -> Any:
    """The sums of CELLS rows after each row's entries times the same lanes were added."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums, cells, lanes = values
        return _together(
            builder,
            [
                builder.fadd(
                    builder.extract_value(sums, row),
                    builder.fmul(builder.extract_value(cells, row), lanes),
                )
                for row in range(CELLS)
            ],
        )

    return _cells(_cells, _cells, _lanes), generate


@_instruction
def load_sums(_: Any, array: Any, row: Any, entry: Any) -> Any:
    """What `store_sums` wrote."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _place(context, builder, signature, values)
        return _together(
            builder,
            [
                _read(builder, builder.gep(place, [_position(row)], source_etype=_VECTOR))
                for row in range(CELLS)
            ],
        )

    return _cells(array, types.intp, types.intp), generate


@_instruction
def store_sums(_: Any, array: Any, row: Any, entry: Any, sums: Any) -> Any:
    """Write the lanes of CELLS rows, one after the other, to a row from that entry on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _place(context, builder, signature, values)
        for row in range(CELLS):
            builder.store(
                builder.extract_value(values[3], row),
                builder.gep(place, [_position(row)], source_etype=_VECTOR),
                align=8,
            )
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, _cells), generate


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The address of [row, entry] of a matrix: the first three values."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    _, width = _code.unpack_tuple(builder, array.shape, 2)
    offset = builder.add(builder.mul(values[1], width), values[2])
    return builder.bitcast(builder.gep(array.data, [offset]), _VECTOR.as_pointer())


def _places(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    array = context.make_array(signature.args[0])(context, builder, values[0])
    height, _ = _code.unpack_tuple(builder, array.shape, 2)
    last = builder.sub(height, ir.Constant(_INDEX, 1))
    places = []
    for number in range(CELLS):
        row = builder.add(values[1], ir.Constant(_INDEX, number))
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        places.append(_place(context, builder, signature, [values[0], row, values[2]]))
    return places


def _read(builder: Any, place: Any) -> Any:
    return builder.load(place, align=8, typ=_VECTOR)


def _together(builder: Any, parts: list[Any]) -> Any:
    whole = ir.Constant(ir.ArrayType(_VECTOR, CELLS), ir.Undefined)
    for number, part in enumerate(parts):
        whole = builder.insert_value(whole, part, number)
    return whole


def _everywhere(builder: Any, value: Any, kind: Any) -> Any:
    vector = ir.Constant(kind, ir.Undefined)
    for lane in range(LANES):
        vector = builder.insert_element(vector, value, _position(lane))
    return vector


def _position(number: int) -> Any:
    return ir.Constant(ir.IntType(32), number)
