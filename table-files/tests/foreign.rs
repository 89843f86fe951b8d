//! Parquet files that another implementation wrote (`files/make.py`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use feature_defs::value::{Value, ValueType};
use table_files::{Cell, Row, RowError, TableReader};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

fn open(name: &str) -> TableReader {
    TableReader::open(&path(name)).unwrap()
}

fn rows(reader: &mut TableReader) -> Vec<Row> {
    std::iter::from_fn(|| reader.next_row().unwrap()).collect()
}

/// What is wrong with a file, without the folder that it is in.
fn refused(name: &str) -> String {
    let error = match TableReader::open(&path(name)) {
        Err(error) => error,
        Ok(mut reader) => loop {
            match reader.next_row() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{name} is taken"),
                Err(RowError::File(error)) => break error,
                Err(error) => panic!("{error}"),
            }
        },
    };
    error.to_string().replace(path("").to_str().unwrap(), "")
}

#[test]
fn every_type_is_read_as_what_it_is() {
    let mut reader = open("every_type.parquet");
    let rows = rows(&mut reader);
    let mut table = String::new();
    for (i, column) in reader.columns().iter().enumerate() {
        let cells: Vec<String> = rows.iter().map(|row| column.column_type.text(&row.cells[i])).collect();
        table.push_str(&format!(
            "{}: {}: {}\n",
            column.name,
            column.column_type,
            cells.join(" | ")
        ));
    }
    insta::assert_snapshot!(table, @r#"
    bool: bool: true |  | false
    int8: int8: -1 |  | 127
    uint8: uint8: 0 |  | 255
    int32: int32: -2147483648 |  | 2147483647
    uint32: uint32: 0 |  | 4294967295
    int64: int64: -9223372036854775808 |  | 9223372036854775807
    uint64: uint64: 0 |  | 18446744073709551615
    float: float32: 0.1 |  | inf
    double: float64: 0.1 |  | NaN
    string: string: ü |  | 
    category: string: a |  | a
    binary: bytes: 00ff |  | 
    ms: timestamp in UTC in millis: 2013-11-05T11:30:00.123Z |  | 2013-11-05T11:30:00.123Z
    us: timestamp: 2013-11-05T11:30:00.123456Z |  | 2013-11-05T11:30:00.123456Z
    ns: timestamp in UTC in nanos: 2013-11-05T11:30:00.123456Z |  | 2013-11-05T11:30:00.123456Z
    naive: timestamp without a time zone in nanos: 2013-11-05T11:30:00.123456 |  | 2013-11-05T11:30:00.123456
    date: date: 2013-11-05 |  | 1969-12-31
    nothing: text:  |  | 
    floats: float32_list: [0.5,1.5] |  | []
    ints: int64_list: [1] |  | []
    strings: string_list: ["a",""] |  | []
    "#);
    assert!(rows[1].cells.iter().all(Option::is_none));
}

#[test]
fn labels_of_pandas_are_read_in_every_codec() {
    let moment = |text: &str| Some(Value::Timestamp(text.parse().unwrap()));
    let wanted = [
        ValueType::Timestamp,
        ValueType::String,
        ValueType::Float64,
        ValueType::Int64,
    ];
    let expected: [[Cell; 4]; 2] = [
        [
            moment("2013-11-05T11:30:00Z"),
            Some(Value::String("UA".into())),
            Some(Value::Float64(100.0)),
            Some(Value::Int64(1)),
        ],
        [
            moment("2013-11-05T11:29:59.999999Z"),
            None,
            Some(Value::Float64(3.0)),
            None,
        ],
    ];
    for codec in ["none", "snappy", "gzip", "zstd", "lz4", "int96"] {
        let mut reader = open(&format!("labels_{codec}.parquet"));
        let read: Vec<Vec<Cell>> = rows(&mut reader)
            .iter()
            .map(|row| {
                let cells = reader.columns().iter().zip(&row.cells).zip(wanted);
                cells
                    .map(|((column, cell), wanted)| column.column_type.value(cell, wanted).unwrap())
                    .collect()
            })
            .collect();
        assert_eq!(read, expected, "{codec}");
    }
}

#[test]
fn rows_go_on_over_pages_batches_and_row_groups_and_begin_again() {
    let mut reader = open("groups.parquet");
    for _ in 0..2 {
        let rows = rows(&mut reader);
        let numbers: Vec<Option<Value>> = rows.iter().map(|row| row.cells[0].clone()).collect();
        assert_eq!(numbers, (0..5000).map(|n| Some(Value::Int64(n))).collect::<Vec<_>>());
        assert_eq!(rows[4999].place.to_string(), "row 5000");
        reader.rewind().unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    insta::assert_snapshot!(refused("nested.parquet"), @"nested.parquet, column `place` holds nested values, which is not supported: write what is in them as columns of their own, or leave it out");
    insta::assert_snapshot!(refused("decimal.parquet"), @"decimal.parquet, column `price` holds decimals, which is not supported: write it as one of bool, int64, float64, string, binary or timestamp, or leave it out");
    insta::assert_snapshot!(refused("doubles.parquet"), @"doubles.parquet, column `v` holds lists of DOUBLE, which is not supported: write it as lists of float32, int64 or string, or leave it out");
    insta::assert_snapshot!(refused("null_item.parquet"), @"null_item.parquet cannot be read: column `v`, from row 1: a list holds a null; a feature's list cannot: drop the row, or fill it");
    insta::assert_snapshot!(refused("brotli.parquet"), @"brotli.parquet, column `v` holds values packed with brotli, which is not supported: write it with compression snappy, zstd, gzip or lz4");
    insta::assert_snapshot!(refused("make.py"), @"make.py: a file's name ends in .csv or .parquet, which says what is in it");
    insta::assert_snapshot!(refused("absent.parquet"), @"absent.parquet cannot be opened");
}

#[test]
fn a_file_that_is_no_parquet_or_broken_off_is_an_error_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.parquet");
    let whole = std::fs::read(path("labels_snappy.parquet")).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&file, &whole[..len]).unwrap();
        let error = TableReader::open(&file)
            .err()
            .expect("a file without its end")
            .to_string();
        assert!(
            error.contains("is not a Parquet file, or was not written to its end"),
            "{error}"
        );
    }
    std::fs::write(&file, "carrier,event_timestamp\nUA,2013-11-05T11:30:00Z\n").unwrap();
    let error = TableReader::open(&file).err().unwrap().to_string();
    assert!(error.contains("name it .csv if that is what it is"), "{error}");
}
