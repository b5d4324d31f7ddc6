"""Any data frame as columns of polars."""

from __future__ import annotations

from typing import Any

import polars as pl


def columns_of(frame: Any) -> pl.DataFrame:
    """The columns of a data frame that narwhals knows; a pandas index is one more, but for bare numbers of rows.

    >>> columns_of(pl.LazyFrame({"a": [1]})).rows()
    [(1,)]
    """
    import narwhals as nw  # with all that it knows: for frames alone

    native = nw.from_native(frame)
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    index = nw.maybe_get_index(native)
    if index is None:
        return native.to_polars()
    if index.name is not None or index.dtype.kind not in "iu":
        native = nw.from_native(frame.reset_index(), eager_only=True)
    return _of_pandas(native)


def _of_pandas(native: Any) -> pl.DataFrame:
    """Column by column: pandas' own way to polars wants PyArrow, which few have."""
    columns: dict[str, pl.Series] = {}
    for name, column in zip(native.columns, native.iter_columns(), strict=True):
        if str(name) in columns:
            raise ValueError(f"two columns are called '{name}'")
        columns[str(name)] = _of_pandas_column(column)
    return pl.DataFrame(columns)


def _of_pandas_column(column: Any) -> pl.Series:
    zone = getattr(column.dtype, "time_zone", None)
    if zone:
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy()
        return pl.Series(utc).dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone))
    values = column.to_numpy()
    if values.dtype.kind not in "OSU":
        return pl.Series(values)
    entries = zip(column.to_list(), column.is_null().to_list(), strict=True)
    return pl.Series([None if missing else entry for entry, missing in entries], strict=True)
