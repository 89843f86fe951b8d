//! Join keys and request features as tensors, one a column, for models that a feature service feeds.

use feature_defs::key::KeyValue;
use feature_defs::value::{Value, ValueType};

use crate::model::Featured;
use crate::model::tensor::{Data, Tensor};
use crate::predict::answer::{Answer, Degraded};
use crate::predict::request::Instance;
use crate::predict::{PredictError, Problem, Problems};

use super::request::{NamedTensor, Parameters};
use super::run::{cache_of, check_rows};

/// The instances that these columns are.
///
/// # Errors
/// [`PredictError::InvalidRequest`] with everything that is wrong.
pub(super) fn instances(
    featured: &Featured,
    columns: &[NamedTensor],
    max_instances: usize,
) -> Result<Vec<Instance>, PredictError> {
    let service = &featured.service;
    let mut problems = Problems::default();
    let rows = columns
        .first()
        .and_then(|column| column.tensor.rows())
        .unwrap_or_default();
    for column in columns.iter().filter(|column| column.tensor.rows() != Some(rows)) {
        let shape = column.tensor.shape();
        problems.add(|| {
            let problem = format!("shape {shape:?}, where the first input has {rows} row(s)");
            Problem::named(&column.name, problem)
        });
    }
    check_rows(rows, max_instances, &mut problems);
    if !problems.is_empty() {
        return Err(PredictError::InvalidRequest(problems));
    }
    let keys = service.keys.iter().map(|k| (k.name.as_str(), k.key_type.value_type()));
    let request = service.request.iter().map(|f| (f.name.as_str(), f.value_type));
    let wanted: Vec<(&str, ValueType)> = keys.chain(request).collect();
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].iter().any(|other| other.name == column.name) {
            problems.add(|| Problem::named(&column.name, "given twice".to_owned()));
        } else if wanted.iter().all(|(name, _)| *name != column.name) {
            let hint = service::nearest::hint(&column.name, wanted.iter().map(|(name, _)| *name));
            problems.add(|| {
                let problem = format!("neither a join key nor a request feature, nor a tensor of the model{hint}");
                Problem::named(&column.name, problem)
            });
        }
    }
    let mut values: Vec<Vec<Option<Value>>> = Vec::with_capacity(wanted.len());
    for (name, value_type) in &wanted {
        match columns.iter().find(|column| column.name == *name) {
            None => problems.add(|| Problem::named(name, format!("missing: {value_type}, one a row"))),
            Some(column) => match column_values(&column.tensor, *value_type, rows) {
                Ok(column) => values.push(column),
                Err(problem) => problems.add(|| Problem::named(name, problem)),
            },
        }
    }
    if !problems.is_empty() {
        return Err(PredictError::InvalidRequest(problems));
    }
    let mut columns = values.into_iter();
    let mut keys: Vec<_> = columns.by_ref().take(service.keys.len()).map(Vec::into_iter).collect();
    let mut request: Vec<_> = columns.map(Vec::into_iter).collect();
    let mut instances = Vec::with_capacity(rows);
    for i in 0..rows {
        let key = |value: Option<Value>| value.map(KeyValue::try_from).transpose();
        let row_keys: Result<Vec<_>, _> = keys.iter_mut().map(|column| key(column.next().flatten())).collect();
        match row_keys {
            Ok(row_keys) => instances.push(Instance {
                keys: row_keys,
                request: request.iter_mut().map(|column| column.next().flatten()).collect(),
                overrides: Vec::new(),
            }),
            Err(error) => problems.add(|| Problem {
                instance: Some(i),
                ..Problem::of_request(&error.to_string())
            }),
        }
    }
    featured.shape.check(&instances, &mut problems);
    if problems.is_empty() {
        Ok(instances)
    } else {
        Err(PredictError::InvalidRequest(problems))
    }
}

/// The values of a column: of `[n]`, `[n, 1]`, or `[n, k]` for lists. NaN is null.
fn column_values(tensor: &Tensor, value_type: ValueType, rows: usize) -> Result<Vec<Option<Value>>, String> {
    let is_list = matches!(
        value_type,
        ValueType::Float32List | ValueType::Int64List | ValueType::StringList
    );
    let width = match (is_list, tensor.row_shape()) {
        (false, [] | [1]) => 1,
        (true, [width]) => *width,
        (_, shape) => {
            let wanted = if is_list { "[n, k]" } else { "[n] or [n, 1]" };
            return Err(format!(
                "rows of shape {shape:?}, where {wanted} is needed for {value_type}"
            ));
        }
    };
    (0..rows)
        .map(|row| cell(tensor.data(), row * width..(row + 1) * width, value_type))
        .collect::<Result<_, _>>()
}

fn cell(data: &Data, range: std::ops::Range<usize>, value_type: ValueType) -> Result<Option<Value>, String> {
    let at = range.start;
    let wrong = || format!("{}, where {value_type} is needed", data.element().datatype());
    let value = match value_type {
        ValueType::Bool => match data {
            Data::Bool(items) => Value::Bool(items[at]),
            _ => return Err(wrong()),
        },
        ValueType::Int64 => Value::Int64(whole(data, at)?.ok_or_else(wrong)?),
        ValueType::Float32 => match double(data, at)?.ok_or_else(wrong)? {
            x if x.is_nan() => return Ok(None),
            x => Value::from_json(ValueType::Float32, &x.into())
                .map_err(|e| e.to_string())?
                .ok_or_else(wrong)?,
        },
        ValueType::Float64 => match double(data, at)?.ok_or_else(wrong)? {
            x if x.is_nan() => return Ok(None),
            x => Value::Float64(x),
        },
        ValueType::String | ValueType::Bytes | ValueType::Timestamp => match data {
            Data::String(items) if value_type == ValueType::String => Value::String(items[at].clone()),
            Data::String(items) => {
                return Value::from_text(value_type, &items[at]).map_err(|e| e.to_string());
            }
            _ => return Err(wrong()),
        },
        ValueType::Float32List => {
            let Data::Float32(items) = data else {
                return Err(wrong());
            };
            Value::Float32List(items[range].to_vec())
        }
        ValueType::Int64List => {
            let items: Result<Option<Vec<i64>>, String> = range.map(|at| whole(data, at)).collect();
            Value::Int64List(items?.ok_or_else(wrong)?)
        }
        ValueType::StringList => {
            let Data::String(items) = data else { return Err(wrong()) };
            Value::StringList(items[range].to_vec())
        }
    };
    Ok(Some(value))
}

/// The whole number at `at`; `None` if it is of another kind.
fn whole(data: &Data, at: usize) -> Result<Option<i64>, String> {
    Ok(Some(match data {
        Data::Int8(items) => items[at].into(),
        Data::Int16(items) => items[at].into(),
        Data::Int32(items) => items[at].into(),
        Data::Int64(items) => items[at],
        Data::Uint8(items) => items[at].into(),
        Data::Uint16(items) => items[at].into(),
        Data::Uint32(items) => items[at].into(),
        Data::Uint64(items) => {
            i64::try_from(items[at]).map_err(|_| format!("{} is too large for an int64", items[at]))?
        }
        _ => return Ok(None),
    }))
}

/// The number at `at`; `None` if it is of another kind.
fn double(data: &Data, at: usize) -> Result<Option<f64>, String> {
    Ok(Some(match data {
        Data::Float16(items) => items[at].to_f64(),
        Data::Float32(items) => items[at].into(),
        Data::Float64(items) => items[at],
        _ => {
            let Some(number) = whole(data, at)? else {
                return Ok(None);
            };
            #[expect(
                clippy::cast_precision_loss,
                reason = "as in JSON, where such a number is a double, too"
            )]
            let number = number as f64;
            number
        }
    }))
}

/// The answer as columns, one an output, with what is to be said of it.
///
/// # Errors
/// [`PredictError::RowFailed`] for the first row that has no prediction: a tensor has no null for it.
pub(super) fn outputs(answer: &Answer) -> Result<(Vec<NamedTensor>, Parameters), PredictError> {
    let failed = answer
        .rows
        .iter()
        .enumerate()
        .find_map(|(i, row)| Some((i, row.error.clone()?)));
    if let Some((row, error)) = failed {
        return Err(PredictError::RowFailed { row, error });
    }
    let predictions: Vec<_> = answer.predictions.iter().flatten().collect();
    let mut columns = Vec::new();
    let fields = predictions.first().map(|prediction| prediction.schema.fields());
    for (i, field) in fields.into_iter().flatten().enumerate() {
        let values = predictions
            .iter()
            .filter_map(|prediction| prediction.outputs.values().get(i));
        let tensor = column(field.value_type, values).map_err(|e| PredictError::Internal(e.to_string()))?;
        columns.push(NamedTensor {
            name: field.name.to_string(),
            tensor,
        });
    }
    let mut parameters = vec![("cache", cache_of(answer.rows.iter().map(|row| row.cache)).to_owned())];
    let mut reasons: Vec<Degraded> = Vec::new();
    for reason in answer.rows.iter().flat_map(|row| &row.degraded) {
        if !reasons.contains(reason) {
            reasons.push(*reason);
        }
    }
    if !reasons.is_empty() {
        let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
        parameters.push(("degraded", names.join(",")));
    }
    if answer.rows.iter().any(|row| row.model_version.is_some()) {
        let version =
            |row: &crate::predict::answer::Row| row.model_version.as_ref().unwrap_or(&answer.model_version).to_string();
        let versions: Vec<String> = answer.rows.iter().map(version).collect();
        parameters.push(("model_versions", versions.join(",")));
    }
    Ok((columns, parameters))
}

fn column<'v>(
    value_type: ValueType,
    values: impl Iterator<Item = &'v Value>,
) -> Result<Tensor, crate::model::tensor::ShapeMismatch> {
    let mut data = match value_type {
        ValueType::Float32 => Data::Float32(Vec::new()),
        ValueType::Float64 => Data::Float64(Vec::new()),
        ValueType::Int64 => Data::Int64(Vec::new()),
        ValueType::Bool => Data::Bool(Vec::new()),
        _ => Data::String(Vec::new()),
    };
    for value in values {
        match (&mut data, value) {
            (Data::Float32(items), Value::Float32(x)) => items.push(*x),
            (Data::Float64(items), Value::Float64(x)) => items.push(*x),
            (Data::Int64(items), Value::Int64(i)) => items.push(*i),
            (Data::Bool(items), Value::Bool(b)) => items.push(*b),
            (Data::String(items), Value::String(s)) => items.push(s.clone()),
            // A fallback's output may be another kind of number.
            (data, value) => {
                let _fits = data.push(Some(value), None);
            }
        }
    }
    Tensor::new(vec![data.len()], data)
}
