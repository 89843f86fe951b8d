"""Makes the Parquet files beside it, as Python's world writes them: `python3 make.py` with pyarrow 26 and pandas 3."""

import datetime as dt
import pathlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
MOMENT = dt.datetime(2013, 11, 5, 11, 30, 0, 123456, tzinfo=dt.timezone.utc)
NAIVE = MOMENT.replace(tzinfo=None)

every_type = pa.table(
    {
        "bool": pa.array([True, None, False]),
        "int8": pa.array([-1, None, 127], pa.int8()),
        "uint8": pa.array([0, None, 255], pa.uint8()),
        "int32": pa.array([-(2**31), None, 2**31 - 1], pa.int32()),
        "uint32": pa.array([0, None, 2**32 - 1], pa.uint32()),
        "int64": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
        "uint64": pa.array([0, None, 2**64 - 1], pa.uint64()),
        "float": pa.array([0.1, None, float("inf")], pa.float32()),
        "double": pa.array([0.1, None, float("nan")], pa.float64()),
        "string": pa.array(["ü", None, ""]),
        "category": pa.array(["a", None, "a"]).dictionary_encode(),
        "binary": pa.array([b"\x00\xff", None, b""]),
        "ms": pa.array([MOMENT, None, MOMENT], pa.timestamp("us", "UTC")).cast(pa.timestamp("ms", "UTC"), safe=False),
        "us": pa.array([MOMENT, None, MOMENT], pa.timestamp("us", "America/New_York")),
        "ns": pa.array([MOMENT, None, MOMENT], pa.timestamp("ns", "UTC")),
        "naive": pa.array([NAIVE, None, NAIVE], pa.timestamp("ns")),
        "date": pa.array([dt.date(2013, 11, 5), None, dt.date(1969, 12, 31)]),
        "nothing": pa.nulls(3),
        "floats": pa.array([[0.5, 1.5], None, []], pa.list_(pa.float32())),
        "ints": pa.array([[1], None, []], pa.list_(pa.int64())),
        "strings": pa.array([["a", ""], None, []], pa.list_(pa.string())),
    }
)
pq.write_table(every_type, HERE / "every_type.parquet")

labels = pd.DataFrame(
    {
        "event_timestamp": pd.to_datetime(["2013-11-05T11:30:00Z", "2013-11-05T12:29:59.999999+01:00"], utc=True, format="ISO8601"),
        "carrier": ["UA", None],
        "distance": [100, 3],
        "late": pd.array([1, None], dtype="Int64"),
    }
)
for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    labels.to_parquet(HERE / f"labels_{codec}.parquet", index=False, compression=None if codec == "none" else codec)
labels.to_parquet(HERE / "labels_int96.parquet", index=False, use_deprecated_int96_timestamps=True)
pq.write_table(pa.table({"n": list(range(5000))}), HERE / "groups.parquet", row_group_size=1500, data_page_size=2048)

pq.write_table(pa.table({"id": [1], "place": [{"x": 1.0, "y": 2.0}]}), HERE / "nested.parquet")
pq.write_table(pa.table({"price": pa.array(["1.50"]).cast(pa.decimal128(10, 2))}), HERE / "decimal.parquet")
pq.write_table(pa.table({"v": pa.array([[1.0]], pa.list_(pa.float64()))}), HERE / "doubles.parquet")
pq.write_table(pa.table({"v": pa.array([[1, None]], pa.list_(pa.int64()))}), HERE / "null_item.parquet")
pq.write_table(pa.table({"v": [1]}), HERE / "brotli.parquet", compression="brotli")
