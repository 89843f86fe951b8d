//! The keys of cached predictions: made of everything that decides an answer, and of nothing else.

use std::fmt;

use crate::model::ModelName;
use crate::model::signature::{Layout, Signature};
use crate::model::tensor::{Cell, InputRow};

/// The key of one row's prediction. What it finds is [`crate::model::tensor::Outputs`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// In base 16.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Makes the keys of one model: what all its rows share is hashed once.
#[derive(Debug, Clone)]
pub struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    /// Of the model's name, its file's digest, where its outputs are taken from, and the name, type and shape of every
    /// input tensor. Texts are length-prefixed, so that no two models spell the same bytes.
    pub fn new(name: &ModelName, digest: &[u8; 32], signature: &Signature) -> Self {
        let mut hasher = blake3::Hasher::new();
        text(&mut hasher, "larder prediction 1");
        text(&mut hasher, name.as_str());
        hasher.update(digest);
        count(&mut hasher, signature.places.len());
        for (field, place) in signature.outputs.fields().iter().zip(&signature.places) {
            text(&mut hasher, field.name.as_str());
            text(&mut hasher, field.value_type.name());
            text(&mut hasher, &place.tensor);
            // No column is not column 0.
            count(&mut hasher, place.column.map_or(0, |c| c.saturating_add(1)));
        }
        count(&mut hasher, signature.elements.len());
        match &signature.layout {
            Layout::Matrix(tensor) => {
                text(&mut hasher, "matrix");
                text(&mut hasher, tensor);
                text(&mut hasher, signature.elements.first().map_or("", |e| e.name()));
            }
            Layout::Each(tensors) => {
                text(&mut hasher, "each");
                for (tensor, element) in tensors.iter().zip(&signature.elements) {
                    text(&mut hasher, &tensor.name);
                    text(&mut hasher, element.name());
                    count(&mut hasher, if tensor.column { 2 } else { 1 });
                }
            }
        }
        Self(hasher)
    }

    /// The key of a row.
    pub fn key(&self, row: &InputRow) -> CacheKey {
        let mut hasher = self.0.clone();
        // One update for all: each call costs more than its bytes.
        let mut bytes = Vec::with_capacity(8 * row.0.len());
        for cell in &row.0 {
            match cell {
                Cell::Float32(x) => bytes.extend_from_slice(&x.to_bits().to_le_bytes()),
                Cell::Float64(x) => bytes.extend_from_slice(&x.to_bits().to_le_bytes()),
                Cell::Int64(i) => bytes.extend_from_slice(&i.to_le_bytes()),
                Cell::Int32(i) => bytes.extend_from_slice(&i.to_le_bytes()),
                Cell::Bool(b) => bytes.push(u8::from(*b)),
                Cell::String(s) => {
                    bytes.extend_from_slice(&(s.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(s.as_bytes());
                }
            }
        }
        hasher.update(&bytes);
        CacheKey(*hasher.finalize().as_bytes())
    }
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    count(hasher, text.len());
    hasher.update(text.as_bytes());
}

fn count(hasher: &mut blake3::Hasher, count: usize) {
    hasher.update(&(count as u64).to_le_bytes());
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::CacheKey;

    /// Some key; another for each `n`.
    pub(in crate::predict) fn key(n: u8) -> CacheKey {
        CacheKey([n; 32])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use feature_defs::codec::{Field, Schema};
    use feature_defs::value::ValueType;

    use super::*;
    use crate::model::signature::{EachTensor, Element, Place};

    fn signature(layout: Layout, elements: &[Element], output: &str, column: Option<usize>) -> Signature {
        Signature {
            layout,
            elements: elements.to_vec(),
            outputs: Schema::new(vec![Field {
                name: output.parse().unwrap(),
                value_type: ValueType::Float32,
            }]),
            places: vec![Place {
                tensor: "t".into(),
                element: Element::Float32,
                column,
            }],
        }
    }

    fn each(names: &[&str], column: bool) -> Layout {
        Layout::Each(
            names
                .iter()
                .map(|n| EachTensor {
                    name: (*n).to_owned(),
                    column,
                })
                .collect(),
        )
    }

    #[test]
    fn whatever_decides_an_answer_makes_another_key() {
        let strings = [Element::String, Element::String];
        let matrix = || Layout::Matrix("x".into());
        let (m, other) = ("m".parse().unwrap(), "m2".parse().unwrap());
        let makers = [
            KeyMaker::new(&m, &[0; 32], &signature(matrix(), &strings, "y", None)),
            KeyMaker::new(&other, &[0; 32], &signature(matrix(), &strings, "y", None)),
            KeyMaker::new(&m, &[1; 32], &signature(matrix(), &strings, "y", None)),
            KeyMaker::new(&m, &[0; 32], &signature(matrix(), &strings, "z", None)),
            KeyMaker::new(&m, &[0; 32], &signature(matrix(), &strings, "y", Some(0))),
            KeyMaker::new(&m, &[0; 32], &signature(matrix(), &strings, "y", Some(1))),
            KeyMaker::new(
                &m,
                &[0; 32],
                &signature(Layout::Matrix("xx".into()), &strings, "y", None),
            ),
            KeyMaker::new(
                &m,
                &[0; 32],
                &signature(matrix(), &[Element::Float32, Element::Float32], "y", None),
            ),
            KeyMaker::new(&m, &[0; 32], &signature(each(&["a", "bc"], false), &strings, "y", None)),
            KeyMaker::new(&m, &[0; 32], &signature(each(&["ab", "c"], false), &strings, "y", None)),
            KeyMaker::new(&m, &[0; 32], &signature(each(&["a", "bc"], true), &strings, "y", None)),
        ];
        let s = |text: &str| Cell::String(text.into());
        let rows = [
            vec![s("a"), s("bc")],
            vec![s("ab"), s("c")],
            vec![s(""), s("abc")],
            vec![s("abc"), s("")],
            vec![Cell::Float32(0.0), Cell::Float32(1.0)],
            vec![Cell::Float32(-0.0), Cell::Float32(1.0)],
            vec![Cell::Float32(1.0), Cell::Float32(0.0)],
            vec![Cell::Float32(f32::NAN), Cell::Float32(0.0)],
            vec![Cell::Int64(0), Cell::Int64(1)],
        ];
        let mut seen = HashSet::new();
        for (i, maker) in makers.iter().enumerate() {
            for row in &rows {
                let row = InputRow(row.clone());
                let key = maker.key(&row);
                assert!(seen.insert(key), "maker {i}, {row:?}");
                assert_eq!(maker.key(&row), key, "the same row has the same key");
            }
        }
    }
}
