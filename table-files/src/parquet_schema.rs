//! Which Parquet types our columns are, and the reverse.

use std::sync::Arc;

use feature_defs::value::ValueType;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::Type;

use crate::cell::{ColumnType, Unit};
use crate::reader::Column;

/// A Parquet type that no column of ours can be.
pub(crate) struct Unsupported {
    /// What it is.
    pub(crate) holds: String,
    /// What its owner can do.
    pub(crate) remedy: &'static str,
}

/// What a field at the top of a file's schema is.
pub(crate) fn column_type(field: &Type) -> Result<ColumnType, Unsupported> {
    if field.is_primitive() && field.get_basic_info().repetition() != Repetition::REPEATED {
        return primitive(field).ok_or_else(|| Unsupported {
            holds: described(field),
            remedy: "write it as one of bool, int64, float64, string, binary or timestamp, or leave it out",
        });
    }
    let Some(item) = list_item(field) else {
        return Err(Unsupported {
            holds: "nested values".to_owned(),
            remedy: "write what is in them as columns of their own, or leave it out",
        });
    };
    match primitive(item) {
        Some(ColumnType::Value(ValueType::Float32)) => Ok(ColumnType::Value(ValueType::Float32List)),
        Some(ColumnType::Value(ValueType::Int64)) => Ok(ColumnType::Value(ValueType::Int64List)),
        Some(ColumnType::Value(ValueType::String)) => Ok(ColumnType::Value(ValueType::StringList)),
        _ => Err(Unsupported {
            holds: format!("lists of {}", described(item)),
            remedy: "write it as lists of float32, int64 or string, or leave it out",
        }),
    }
}

/// The items of a list of the three-level form that every writer of today uses.
pub(crate) fn list_item(field: &Type) -> Option<&Type> {
    let info = field.get_basic_info();
    let is_list = info.logical_type_ref() == Some(&LogicalType::List) || info.converted_type() == ConvertedType::LIST;
    if field.is_primitive() || !is_list {
        return None;
    }
    let [repeated] = field.get_fields() else { return None };
    if repeated.is_primitive() || repeated.get_basic_info().repetition() != Repetition::REPEATED {
        return None;
    }
    let [item] = repeated.get_fields() else { return None };
    (item.is_primitive() && item.get_basic_info().repetition() != Repetition::REPEATED).then_some(item)
}

fn described(field: &Type) -> String {
    if !field.is_primitive() {
        return "nested values".to_owned();
    }
    let info = field.get_basic_info();
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => "decimals".to_owned(),
        (Some(LogicalType::Time(_)), _) | (None, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => {
            "times of day".to_owned()
        }
        (Some(LogicalType::Uuid), _) => "UUIDs in binary".to_owned(),
        (Some(LogicalType::Float16), _) => "float16".to_owned(),
        (_, ConvertedType::NONE) => field.get_physical_type().to_string(),
        (_, converted) => converted.to_string(),
    }
}

fn primitive(field: &Type) -> Option<ColumnType> {
    let info = field.get_basic_info();
    let logical = info.logical_type_ref();
    // Writers older than logical types say the same by converted types.
    let converted = match logical {
        Some(_) => ConvertedType::NONE,
        None => info.converted_type(),
    };
    // A column that is null throughout, of which pandas does not know what it would hold: it fits everywhere.
    if logical == Some(&LogicalType::Unknown) {
        return Some(ColumnType::Text);
    }
    match field.get_physical_type() {
        Physical::BOOLEAN => Some(ColumnType::Value(ValueType::Bool)),
        Physical::FLOAT => Some(ColumnType::Value(ValueType::Float32)),
        Physical::DOUBLE => Some(ColumnType::Value(ValueType::Float64)),
        // A day and nanoseconds in UTC, which some writers still prefer.
        Physical::INT96 => Some(ColumnType::Value(ValueType::Timestamp)),
        Physical::INT32 | Physical::INT64 => number(field.get_physical_type(), logical, converted),
        Physical::BYTE_ARRAY => match (logical, converted) {
            (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
            | (None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => {
                Some(ColumnType::Value(ValueType::String))
            }
            (None, ConvertedType::NONE) => Some(ColumnType::Value(ValueType::Bytes)),
            _ => None,
        },
        Physical::FIXED_LEN_BYTE_ARRAY => None,
    }
}

fn number(physical: Physical, logical: Option<&LogicalType>, converted: ConvertedType) -> Option<ColumnType> {
    let integer = |bits, signed| match (bits, signed) {
        (64, true) => Some(ColumnType::Value(ValueType::Int64)),
        _ => Some(ColumnType::Integer { bits, signed }),
    };
    let timestamp = |unit, utc| match (unit, utc) {
        (Unit::Micros, true) => Some(ColumnType::Value(ValueType::Timestamp)),
        _ => Some(ColumnType::Timestamp { unit, utc }),
    };
    match (logical, converted) {
        (Some(LogicalType::Integer(int)), _) => integer(int.bit_width.cast_unsigned(), int.is_signed),
        (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => Some(ColumnType::Date),
        (Some(LogicalType::Timestamp(at)), _) => {
            let unit = match at.unit {
                TimeUnit::MILLIS => Unit::Millis,
                TimeUnit::MICROS => Unit::Micros,
                TimeUnit::NANOS => Unit::Nanos,
            };
            timestamp(unit, at.is_adjusted_to_u_t_c)
        }
        (None, ConvertedType::TIMESTAMP_MILLIS) => timestamp(Unit::Millis, true),
        (None, ConvertedType::TIMESTAMP_MICROS) => timestamp(Unit::Micros, true),
        (None, ConvertedType::NONE) => integer(if physical == Physical::INT32 { 32 } else { 64 }, true),
        (None, ConvertedType::INT_8) => integer(8, true),
        (None, ConvertedType::INT_16) => integer(16, true),
        (None, ConvertedType::INT_32) => integer(32, true),
        (None, ConvertedType::INT_64) => integer(64, true),
        (None, ConvertedType::UINT_8) => integer(8, false),
        (None, ConvertedType::UINT_16) => integer(16, false),
        (None, ConvertedType::UINT_32) => integer(32, false),
        (None, ConvertedType::UINT_64) => integer(64, false),
        _ => None,
    }
}

/// The schema of a file of these columns.
pub(crate) fn schema(columns: &[Column]) -> Result<Type, ParquetError> {
    let fields = columns
        .iter()
        .map(|column| field(&column.name, column.column_type).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Type::group_type_builder("schema").with_fields(fields).build()
}

fn field(name: &str, column_type: ColumnType) -> Result<Type, ParquetError> {
    let item = match column_type {
        ColumnType::Value(ValueType::Float32List) => ValueType::Float32,
        ColumnType::Value(ValueType::Int64List) => ValueType::Int64,
        ColumnType::Value(ValueType::StringList) => ValueType::String,
        _ => return leaf(name, column_type, Repetition::OPTIONAL),
    };
    let item = leaf("element", ColumnType::Value(item), Repetition::REQUIRED)?;
    let repeated = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(item)])
        .build()?;
    Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(repeated)])
        .build()
}

fn leaf(name: &str, column_type: ColumnType, repetition: Repetition) -> Result<Type, ParquetError> {
    let (physical, logical) = match column_type {
        ColumnType::Text | ColumnType::Value(ValueType::String) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Value(ValueType::Bool) => (Physical::BOOLEAN, None),
        ColumnType::Value(ValueType::Int64) => (Physical::INT64, None),
        ColumnType::Value(ValueType::Float32) => (Physical::FLOAT, None),
        ColumnType::Value(ValueType::Float64) => (Physical::DOUBLE, None),
        ColumnType::Value(ValueType::Timestamp) => {
            (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        }
        ColumnType::Value(_) => (Physical::BYTE_ARRAY, None),
        ColumnType::Integer { bits: 64, signed } => (Physical::INT64, Some(LogicalType::integer(64, signed))),
        ColumnType::Integer { bits, signed } => {
            (Physical::INT32, Some(LogicalType::integer(bits.cast_signed(), signed)))
        }
        ColumnType::Timestamp { unit, utc } => {
            let unit = match unit {
                Unit::Millis => TimeUnit::MILLIS,
                Unit::Micros => TimeUnit::MICROS,
                Unit::Nanos => TimeUnit::NANOS,
            };
            (Physical::INT64, Some(LogicalType::timestamp(utc, unit)))
        }
        ColumnType::Date => (Physical::INT32, Some(LogicalType::Date)),
    };
    Type::primitive_type_builder(name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build()
}
