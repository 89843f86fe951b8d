//! Training sets: each row's own moment, agreement with serving, and bad labels.

use std::io::Cursor;
use std::path::Path;

use feature_defs::value::{Value, ValueType};
use table_files::{Cell, Column, ColumnType, Format, TableOutput, TableReader, TableWriter, Unit};

use crate::testing::{Ground, at, text};
use crate::{Mode, Progress, TrainingError};

fn csv(labels: &str) -> TableReader {
    TableReader::csv("labels.csv", Cursor::new(labels.to_owned())).unwrap()
}

/// The training set of these labels, in this format.
async fn written(ground: &Ground, labels: TableReader, format: Format) -> Result<Vec<u8>, TrainingError> {
    let mut to = Vec::new();
    let out = TableOutput { format, to: &mut to };
    ground
        .app
        .training_set("delay", labels, out, &Progress::hidden())
        .await?;
    Ok(to)
}

async fn training_set(ground: &Ground, labels: &str) -> Result<String, TrainingError> {
    let out = written(ground, csv(labels), Format::Csv).await?;
    Ok(String::from_utf8(out).unwrap())
}

/// A Parquet file's columns, and its cells as CSV has them.
fn as_text(file: &Path) -> (Vec<Column>, String) {
    let mut reader = TableReader::open(file).unwrap();
    let columns = reader.columns().to_vec();
    let mut to = Vec::new();
    let format = Format::Csv;
    let mut writer = TableWriter::new(TableOutput { format, to: &mut to }, columns.clone()).unwrap();
    while let Some(row) = reader.next_row().unwrap() {
        writer.row(&row.cells).unwrap();
    }
    writer.finish().unwrap();
    (columns, String::from_utf8(to).unwrap())
}

fn parquet(file: &Path, columns: &[(&str, ColumnType)], rows: &[Vec<Cell>]) -> TableReader {
    let columns = columns.iter().map(|&(name, column_type)| Column {
        name: name.to_owned(),
        column_type,
    });
    let output = TableOutput {
        format: Format::Parquet,
        to: std::fs::File::create(file).unwrap(),
    };
    let mut writer = TableWriter::new(output, columns.collect()).unwrap();
    for row in rows {
        writer.row(row).unwrap();
    }
    writer.finish().unwrap();
    TableReader::open(file).unwrap()
}

#[tokio::test]
async fn each_row_sees_its_own_moment_and_nothing_later() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:00", "11:00", "10").await;
    ground.arrival("UA", "11:30", "11:30", "20").await;
    ground.arrival("UA", "11:30", "11:45", "21").await;
    let labels = "late,carrier,distance,event_timestamp\n\
        1,UA,100,2013-11-05T11:30:00Z\n\
        0,UA,,2013-11-05T12:29:59.999999+01:00\n\
        1,UA,3.5,2013-11-05T17:30:00Z\n\
        \"a, b\",,1,2013-11-05T11:30:00Z\n\
        0,XX,1,2013-11-05T11:30:00Z\n";
    insta::assert_snapshot!(training_set(&ground, labels).await.unwrap(), @r#"
    late,carrier,distance,event_timestamp,ops__delay_1h,ops__delay_3h,ops__n_1h,ops__n_3h,ops__total_1h,ops__newest_3h,ops__at_3h,newest__delay
    1,UA,100.0,2013-11-05T11:30:00Z,17.0,17.0,3,3,51.0,21.0,2013-11-05T11:30:00Z,21.0
    0,UA,,2013-11-05T12:29:59.999999+01:00,10.0,10.0,1,1,10.0,10.0,2013-11-05T11:00:00Z,10.0
    1,UA,3.5,2013-11-05T17:30:00Z,,,,,,,,-1.0
    "a, b",,1.0,2013-11-05T11:30:00Z,,,,,,,,-1.0
    0,XX,1.0,2013-11-05T11:30:00Z,,,,,,,,-1.0
    "#);
}

#[tokio::test]
async fn training_and_serving_agree() {
    let mut ground = Ground::arrivals().await;
    for minute in 0..60 {
        let (carrier, delay) = (["UA", "AA", "DL"][minute % 3], minute * 7 % 50);
        let event = format!("{:02}:{:02}", 6 + minute / 10, minute % 10 * 6);
        ground.arrival(carrier, &event, &event, &format!("{delay}.5")).await;
    }
    let carriers = ["UA", "AA", "DL", "XX"];
    for time in ["07:00", "09:30", "12:00", "14:59", "16:00"] {
        for view in ["ops", "newest"] {
            ground.run(view, Mode::Incremental, time).await;
        }
        let mut labels = "carrier,distance,event_timestamp\n".to_owned();
        for carrier in carriers {
            labels.push_str(&format!("{carrier},1.0,{}\n", at(time)));
        }
        let trained = training_set(&ground, &labels).await.unwrap();
        for (carrier, row) in carriers.iter().zip(trained.lines().skip(1)) {
            let given = [
                ("carrier".to_owned(), (*carrier).to_owned()),
                ("distance".to_owned(), "1.0".to_owned()),
            ];
            let served = ground.app.get("delay", &given).await.unwrap();
            let served: Vec<String> = served
                .iter()
                .map(|f| match &f.value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(s) => s.clone(),
                    value => value.to_string(),
                })
                .collect();
            let expected = format!("{carrier},1.0,{},{}", at(time), served[1..].join(","));
            assert_eq!(row, expected, "{carrier} at {time}");
        }
    }
    assert_eq!(text(&ground.read("newest", "UA", "16:00").await.values), "49.5");
}

#[tokio::test]
async fn bad_labels_are_told_together_and_nothing_is_written() {
    let ground = Ground::arrivals().await;
    let refused = |labels: &'static str| {
        let ground = &ground;
        async move { training_set(ground, labels).await.unwrap_err().to_string() }
    };
    insta::assert_snapshot!(refused("carrier,late,late\nUA,1,1\n").await, @"
    labels.csv has 3 problems:
      column `late` is there twice
      there is no column `event_timestamp` (the moment of each row, RFC 3339 in CSV)
      there is no column `distance` (a request feature)
    ");
    let computed = "carrier,distance,event_timestamp,newest__delay\nUA,1,2013-11-05T11:30:00Z,7\n";
    insta::assert_snapshot!(refused(computed).await, @r"
    labels.csv has 1 problem:
      column `newest__delay` has the name of an input that is computed: rename it, or leave it out
    ");
    let rows = "carrier,distance,event_timestamp\nUA,far,yesterday\nUA,1\nUA,1,\nUA,1,2013-11-05T11:30:00Z\n";
    insta::assert_snapshot!(refused(rows).await, @r#"
    labels.csv has 4 problems:
      line 2, column `event_timestamp`: expected timestamp, got "yesterday"
      line 2, column `distance`: expected float64, got "far"
      line 3: 2 cells, the header has 3
      line 4, column `event_timestamp`: empty; each row needs its moment
    "#);
}

/// Labels of which more than one chunk is made, not in the order of entities.
fn many_labels() -> String {
    let mut labels = "late,carrier,distance,event_timestamp\n".to_owned();
    for i in 0..9_001 {
        let (carrier, minute) = (["UA", "", "AA", "XX"][i % 4], i * 7 % 60);
        let distance = if i % 5 == 0 { String::new() } else { format!("{i}.5") };
        labels.push_str(&format!("row {i},{carrier},{distance},2013-11-05T11:{minute:02}:00Z\n"));
    }
    labels
}

#[tokio::test]
async fn parquet_holds_what_csv_holds_with_types_and_in_order() {
    let mut ground = Ground::arrivals().await;
    for minute in 0..60 {
        let event = format!("11:{minute:02}");
        ground
            .arrival(["UA", "AA", "DL"][minute % 3], &event, &event, &format!("{minute}.5"))
            .await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("train.parquet");
    let labels = many_labels();
    let expected = training_set(&ground, &labels).await.unwrap();
    assert!(expected.contains("row 4004,UA,"), "{}", &expected[..400]);
    let out = written(&ground, csv(&labels), Format::Parquet).await.unwrap();
    std::fs::write(&file, out).unwrap();
    let (columns, text) = as_text(&file);
    assert!(text == expected, "Parquet and CSV differ");
    let types: Vec<String> = columns
        .iter()
        .map(|c| format!("{}: {}", c.name, c.column_type))
        .collect();
    insta::assert_snapshot!(types.join("\n"), @"
    late: string
    carrier: string
    distance: float64
    event_timestamp: timestamp
    ops__delay_1h: float64
    ops__delay_3h: float64
    ops__n_1h: int64
    ops__n_3h: int64
    ops__total_1h: float64
    ops__newest_3h: float64
    ops__at_3h: timestamp
    newest__delay: float64
    ");
    // And read again, as labels: inputs that are computed are not among them.
    let mut typed = TableReader::open(&file).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = typed.next_row().unwrap() {
        rows.push(row.cells[..4].to_vec());
    }
    let named: Vec<(&str, ColumnType)> = columns[..4].iter().map(|c| (c.name.as_str(), c.column_type)).collect();
    let labels = parquet(&folder.path().join("labels.parquet"), &named, &rows);
    let again = written(&ground, labels, Format::Csv).await.unwrap();
    assert!(again == expected.as_bytes(), "labels in Parquet and in CSV differ");
}

#[tokio::test]
async fn columns_that_pass_through_keep_their_type() {
    let ground = Ground::arrivals().await;
    let folder = tempfile::tempdir().unwrap();
    let nanos = ColumnType::Timestamp {
        unit: Unit::Nanos,
        utc: true,
    };
    let small = ColumnType::Integer { bits: 8, signed: false };
    let labels = [
        ("event_timestamp", nanos),
        ("carrier", ColumnType::Value(ValueType::String)),
        ("distance", ColumnType::Value(ValueType::Int64)),
        ("day", ColumnType::Date),
        ("stars", small),
    ];
    let moment = at("11:30").as_micros() * 1_000 + 1;
    let cells = [moment, 0, 7, 16_000, 255].map(|n| Some(Value::Int64(n)));
    let mut row = cells.to_vec();
    row[1] = Some(Value::String("UA".to_owned()));
    let labels = parquet(&folder.path().join("labels.parquet"), &labels, &[row]);
    let file = folder.path().join("train.parquet");
    std::fs::write(&file, written(&ground, labels, Format::Parquet).await.unwrap()).unwrap();
    let (columns, text) = as_text(&file);
    let (day, stars) = (columns[3].column_type, columns[4].column_type);
    assert_eq!((columns[0].column_type, day, stars), (nanos, ColumnType::Date, small));
    // The request feature is of the service's type.
    assert_eq!(columns[2].column_type, ColumnType::Value(ValueType::Float64));
    let row = text.lines().nth(1).unwrap();
    assert!(
        row.starts_with("2013-11-05T11:30:00.000000001Z,UA,7.0,2013-10-22,255,"),
        "{row}"
    );
}

#[tokio::test]
async fn columns_of_the_wrong_type_are_told_with_what_to_do() {
    let ground = Ground::arrivals().await;
    let folder = tempfile::tempdir().unwrap();
    let local = ColumnType::Timestamp {
        unit: Unit::Nanos,
        utc: false,
    };
    let columns = [
        ("event_timestamp", local),
        ("carrier", ColumnType::Value(ValueType::Int64)),
        ("distance", ColumnType::Date),
    ];
    let refused = async |columns: &[(&str, ColumnType)], rows: &[Vec<Cell>]| {
        let labels = parquet(&folder.path().join("labels.parquet"), columns, rows);
        let error = written(&ground, labels, Format::Csv).await.unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "")
    };
    insta::assert_snapshot!(refused(&columns, &[]).await, @r#"
    /labels.parquet has 3 problems:
      column `event_timestamp` (the moment of each row, RFC 3339 in CSV) holds timestamp without a time zone in nanos, expected timestamp: say which zone its times are in, with pandas: `df[c] = df[c].dt.tz_localize("UTC")`
      column `carrier` (a join key) holds int64, expected string: write it as string
      column `distance` (a request feature) holds date, expected float64: write it as float64
    "#);
    let millis = ColumnType::Timestamp {
        unit: Unit::Millis,
        utc: true,
    };
    let columns = [
        ("event_timestamp", millis),
        ("carrier", ColumnType::Value(ValueType::String)),
        ("distance", ColumnType::Value(ValueType::Float64)),
    ];
    let rows = [None, Some(i64::MAX), Some(-210_866_803_200_001)]
        .map(|n| vec![n.map(Value::Int64), None, Some(Value::Float64(f64::INFINITY))]);
    insta::assert_snapshot!(refused(&columns, &rows).await, @"
    /labels.parquet has 6 problems:
      row 1, column `distance`: expected float64, got inf
      row 1, column `event_timestamp`: empty; each row needs its moment
      row 2, column `event_timestamp`: expected timestamp, got 9223372036854775807 millis since 1970
      row 2, column `distance`: expected float64, got inf
      row 3, column `distance`: expected float64, got inf
      row 3, column `event_timestamp`: a moment that Postgres does not have
    ");
}

#[tokio::test]
async fn the_query_is_explained_with_the_plan_of_its_indexes() {
    let ground = Ground::arrivals().await;
    let labels = "carrier,distance,event_timestamp\nUA,1,2013-11-05T11:30:00Z\n";
    let said = ground.app.explain_training_set("delay", csv(labels)).await.unwrap();
    let (query, plan) = said.split_once(";\n\n").unwrap();
    assert!(query.contains("LEFT JOIN LATERAL"), "{query}");
    assert!(
        plan.contains("arrivals_carrier_event_idx") && plan.contains("cost="),
        "{plan}"
    );
}
