//! What is written is read back: every type, nulls, and more rows than are held at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use table_files::{Cell, Column, ColumnType, Format, RowError, TableOutput, TableReader, TableWriter, Unit};

fn write(path: &Path, columns: &[Column], rows: &[Vec<Cell>]) {
    let output = TableOutput {
        format: Format::of(path).unwrap(),
        to: std::fs::File::create(path).unwrap(),
    };
    let mut writer = TableWriter::new(output, columns.to_vec()).unwrap();
    for row in rows {
        writer.row(row).unwrap();
    }
    writer.finish().unwrap();
}

fn read(path: &Path) -> (Vec<Column>, Vec<Vec<Cell>>) {
    let mut reader = TableReader::open(path).unwrap();
    let rows = std::iter::from_fn(|| reader.next_row().unwrap())
        .map(|row| row.cells)
        .collect();
    (reader.columns().to_vec(), rows)
}

/// A column of each type, with three cells each that are not null.
fn every_type() -> Vec<(ColumnType, [Value; 3])> {
    let int = Value::Int64;
    let at = |micros| Value::Timestamp(Timestamp::from_micros(micros));
    let float32 = |x| Value::Float32(x);
    let text = |s: &str| Value::String(s.to_owned());
    let value = ColumnType::Value;
    let mut all = vec![
        (value(ValueType::Bool), [true, false, true].map(Value::Bool)),
        (value(ValueType::Int64), [i64::MIN, 0, i64::MAX].map(int)),
        (value(ValueType::Float32), [0.1, f32::INFINITY, -0.0].map(float32)),
        (
            value(ValueType::Float64),
            [0.1, f64::NEG_INFINITY, f64::NAN].map(Value::Float64),
        ),
        (value(ValueType::String), ["ü", "a, \"b\"\n", ""].map(text)),
        (
            value(ValueType::Bytes),
            [vec![0, 255], vec![], vec![1]].map(Value::Bytes),
        ),
        (value(ValueType::Timestamp), [-1, 0, 253_402_300_799_999_999].map(at)),
        (
            value(ValueType::Float32List),
            [vec![0.5, f32::MAX], vec![], vec![1.0]].map(Value::Float32List),
        ),
        (
            value(ValueType::Int64List),
            [vec![i64::MIN], vec![], vec![1, 2, 3]].map(Value::Int64List),
        ),
        (
            value(ValueType::StringList),
            [vec!["a", ""], vec![], vec!["ü"]]
                .map(|list| Value::StringList(list.into_iter().map(str::to_owned).collect())),
        ),
        (ColumnType::Text, ["1", "x", "2013"].map(text)),
        (ColumnType::Date, [-1, 0, 15_000].map(int)),
    ];
    for (bits, low, high) in [
        (8, -128, 255),
        (16, -32_768, 65_535),
        (32, -2_147_483_648, 4_294_967_295),
    ] {
        all.push((ColumnType::Integer { bits, signed: true }, [low, 0, high / 2].map(int)));
        all.push((ColumnType::Integer { bits, signed: false }, [0, 1, high].map(int)));
    }
    all.push((
        ColumnType::Integer {
            bits: 64,
            signed: false,
        },
        [0, i64::MAX, -1].map(int),
    ));
    for unit in [Unit::Millis, Unit::Micros, Unit::Nanos] {
        all.push((ColumnType::Timestamp { unit, utc: false }, [-1, 0, i64::MAX].map(int)));
    }
    for unit in [Unit::Millis, Unit::Nanos] {
        all.push((ColumnType::Timestamp { unit, utc: true }, [i64::MIN, 0, 1].map(int)));
    }
    all
}

#[test]
fn parquet_keeps_every_type_and_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.parquet");
    let columns: Vec<Column> = every_type()
        .iter()
        .map(|(column_type, _)| Column {
            name: format!("{column_type:?}"),
            column_type: *column_type,
        })
        .collect();
    let row = |i: usize| -> Vec<Cell> { every_type().iter().map(|(_, cells)| Some(cells[i].clone())).collect() };
    let rows = vec![row(0), vec![None; columns.len()], row(1), row(2)];
    write(&path, &columns, &rows);
    let (read_columns, read_rows) = read(&path);
    for (column, read) in columns.iter().zip(&read_columns) {
        // Text has no type, but is text.
        let expected = match column.column_type {
            ColumnType::Text => ColumnType::Value(ValueType::String),
            column_type => column_type,
        };
        assert_eq!(read.column_type, expected, "{}", column.name);
    }
    assert_eq!(read_rows, rows);
}

#[test]
fn more_rows_than_a_row_group_keep_their_order() {
    const ROWS: i64 = 150_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.parquet");
    let columns = [ValueType::Int64, ValueType::Int64List].map(|value_type| Column {
        name: value_type.to_string(),
        column_type: ColumnType::Value(value_type),
    });
    let rows: Vec<Vec<Cell>> = (0..ROWS)
        .map(|n| {
            let list = (n % 7 > 0).then(|| Value::Int64List((0..n % 5).collect()));
            vec![(n % 3 > 0).then_some(Value::Int64(n)), list]
        })
        .collect();
    write(&path, &columns, &rows);
    assert!(read(&path).1 == rows, "the rows differ");
}

#[test]
fn csv_is_texts_and_lines_that_are_wrong_are_told_and_passed() {
    let text = "\u{feff}a,b\n1,\n2\n\"x\ny\",3\n";
    let mut reader = TableReader::csv("t.csv", std::io::Cursor::new(text)).unwrap();
    for _ in 0..2 {
        assert_eq!(reader.columns()[0].name, "a");
        let string = |s: &str| Some(Value::String(s.to_owned()));
        let first = reader.next_row().unwrap().unwrap();
        assert_eq!(
            (first.cells, first.place.to_string()),
            (vec![string("1"), None], "line 2".to_owned())
        );
        let Err(error @ RowError::Row { .. }) = reader.next_row() else {
            panic!("a short row is taken")
        };
        assert_eq!(error.to_string(), "line 3: 1 cells, the header has 2");
        let last = reader.next_row().unwrap().unwrap();
        assert_eq!(
            (last.cells, last.place.to_string()),
            (vec![string("x\ny"), string("3")], "line 4".to_owned())
        );
        assert!(reader.next_row().unwrap().is_none());
        reader.rewind().unwrap();
    }
}

#[test]
fn csv_spells_what_parquet_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.csv");
    let columns: Vec<Column> = every_type()
        .iter()
        .enumerate()
        .map(|(i, (column_type, _))| Column {
            name: format!("c{i}"),
            column_type: *column_type,
        })
        .collect();
    write(
        &path,
        &columns,
        &[every_type().iter().map(|(_, cells)| Some(cells[0].clone())).collect()],
    );
    insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @r#"
    c0,c1,c2,c3,c4,c5,c6,c7,c8,c9,c10,c11,c12,c13,c14,c15,c16,c17,c18,c19,c20,c21,c22,c23
    true,-9223372036854775808,0.1,0.1,ü,00ff,1969-12-31T23:59:59.999999Z,"[0.5,3.4028235e+38]",[-9223372036854775808],"[""a"",""""]",1,1969-12-31,-128,0,-32768,0,-2147483648,0,0,1969-12-31T23:59:59.999,1969-12-31T23:59:59.999999,1969-12-31T23:59:59.999999999,-9223372036854775808 millis since 1970,1677-09-21T00:12:43.145224192Z
    "#);
}

#[test]
fn a_cell_of_another_type_than_its_column_is_refused() {
    let column = Column {
        name: "n".into(),
        column_type: ColumnType::Value(ValueType::Int64),
    };
    let output = TableOutput {
        format: Format::Parquet,
        to: Vec::new(),
    };
    let mut writer = TableWriter::new(output, vec![column]).unwrap();
    for wrong in [Value::Bool(true), Value::Int64List(vec![1])] {
        let error = writer.row(&[Some(wrong)]).unwrap_err().to_string();
        assert!(error.contains("column `n` is of int64"), "{error}");
    }
}
