//! The keys of cached predictions: made of everything that decides an answer, and of nothing else.

use std::fmt;

use crate::model::ModelName;
use crate::model::program::Inputs;
use crate::model::signature::{Declared, Layout, Signature};

/// The key of one prediction. What it finds is [`crate::model::program::Outputs`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// A number between 0 and 1 that is another one for each key.
    pub fn fraction(self) -> f32 {
        f32::from(self.0[0]) / 256.0
    }

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

/// Makes the keys of one use of a model: what all its rows share is hashed once.
#[derive(Debug, Clone)]
pub struct KeyMaker {
    hasher: blake3::Hasher,
    /// Whether the shapes of rows differ, and so are part of each key.
    with_shapes: bool,
}

impl KeyMaker {
    /// Of the model's name, its file's digest, where its outputs are taken from, and the name, type and shape of every
    /// input tensor. Texts are length-prefixed, so that no two models spell the same bytes.
    pub fn of_features(name: &ModelName, digest: &[u8; 32], signature: &Signature) -> Self {
        let mut hasher = of_model("features", name, digest);
        count(&mut hasher, signature.places.len());
        for (field, place) in signature.outputs.fields().iter().zip(&signature.places) {
            text(&mut hasher, field.name.as_str());
            text(&mut hasher, field.value_type.name());
            text(&mut hasher, &place.tensor);
            // No column is not column 0.
            count(&mut hasher, place.column.map_or(0, |c| c.saturating_add(1)));
        }
        match &signature.layout {
            Layout::Matrix { tensor, element, width } => {
                text(&mut hasher, "matrix");
                text(&mut hasher, tensor);
                text(&mut hasher, element.name());
                count(&mut hasher, *width);
            }
            Layout::Each(tensors) => {
                text(&mut hasher, "each");
                count(&mut hasher, tensors.len());
                for each in tensors {
                    text(&mut hasher, &each.name);
                    text(&mut hasher, each.element.name());
                    shape(&mut hasher, each.row.shape());
                }
            }
        }
        Self {
            hasher,
            with_shapes: false,
        }
    }

    /// The same of a model that is asked by tensors, for all of its answer. Shapes come with the tensors.
    pub fn of_tensors(
        name: &ModelName,
        digest: &[u8; 32],
        (inputs, outputs): (&[Declared], &[Declared]),
        by_row: bool,
    ) -> Self {
        let mut hasher = of_model(if by_row { "rows" } else { "tensors" }, name, digest);
        for tensors in [inputs, outputs] {
            count(&mut hasher, tensors.len());
            for tensor in tensors {
                text(&mut hasher, &tensor.name);
                text(&mut hasher, tensor.element.map_or("", |element| element.name()));
            }
        }
        Self {
            hasher,
            with_shapes: true,
        }
    }

    /// The key of a unit of `inputs`.
    pub fn key(&self, inputs: &Inputs, unit: usize) -> CacheKey {
        let mut hasher = self.hasher.clone();
        // One update for all: each call costs more than its bytes.
        let mut bytes = Vec::with_capacity(128);
        for tensor in inputs.tensors() {
            let (range, dimensions) = inputs.unit_of(tensor, unit);
            if self.with_shapes {
                bytes.extend_from_slice(&(dimensions.len() as u64).to_le_bytes());
                for dimension in dimensions {
                    bytes.extend_from_slice(&(*dimension as u64).to_le_bytes());
                }
            }
            tensor.data().key_bytes(range, &mut bytes);
        }
        hasher.update(&bytes);
        CacheKey(*hasher.finalize().as_bytes())
    }
}

fn of_model(kind: &str, name: &ModelName, digest: &[u8; 32]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    text(&mut hasher, "larder prediction 2");
    text(&mut hasher, kind);
    text(&mut hasher, name.as_str());
    hasher.update(digest);
    hasher
}

fn shape(hasher: &mut blake3::Hasher, shape: &[usize]) {
    count(hasher, shape.len());
    shape.iter().for_each(|dimension| count(hasher, *dimension));
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
    use crate::model::element::Element;
    use crate::model::signature::{EachTensor, Place, RowShape};
    use crate::model::tensor::{Data, Tensor};

    fn signature(layout: Layout, output: &str, column: Option<usize>) -> Signature {
        Signature {
            layout,
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

    fn each(names: &[&str], row: RowShape) -> Layout {
        let each = |name: &&str| EachTensor {
            name: (*name).to_owned(),
            element: Element::String,
            row,
        };
        Layout::Each(names.iter().map(each).collect())
    }

    fn matrix(tensor: &str, element: Element, width: usize) -> Layout {
        Layout::Matrix {
            tensor: tensor.into(),
            element,
            width,
        }
    }

    fn declared(name: &str, element: Element) -> Declared {
        Declared {
            name: name.into(),
            element: Some(element),
            type_text: String::new(),
            shape: vec![-1],
        }
    }

    #[test]
    fn whatever_decides_an_answer_makes_another_key() {
        let (m, other) = ("m".parse().unwrap(), "m2".parse().unwrap());
        let strings = || matrix("x", Element::String, 2);
        let takes = |tensor: &str, element| (vec![declared(tensor, element)], vec![declared("t", Element::Float32)]);
        let (one, renamed, retyped) = (
            takes("x", Element::String),
            takes("y", Element::String),
            takes("x", Element::Int64),
        );
        let gives_more = (one.0.clone(), vec![one.1[0].clone(), declared("u", Element::Float32)]);
        let of_tensors = |takes: &(Vec<Declared>, Vec<Declared>), rows| {
            KeyMaker::of_tensors(&m, &[0; 32], (&takes.0, &takes.1), rows)
        };
        let of = |layout: Layout, output: &str, column| {
            KeyMaker::of_features(&m, &[0; 32], &signature(layout, output, column))
        };
        let makers = [
            of(strings(), "y", None),
            KeyMaker::of_features(&other, &[0; 32], &signature(strings(), "y", None)),
            KeyMaker::of_features(&m, &[1; 32], &signature(strings(), "y", None)),
            of(strings(), "z", None),
            of(strings(), "y", Some(0)),
            of(strings(), "y", Some(1)),
            of(matrix("xx", Element::String, 2), "y", None),
            of(matrix("x", Element::Float32, 2), "y", None),
            of(matrix("x", Element::String, 3), "y", None),
            of(each(&["a", "bc"], RowShape::Single), "y", None),
            of(each(&["ab", "c"], RowShape::Single), "y", None),
            of(each(&["a", "bc"], RowShape::Column), "y", None),
            of(each(&["a", "bc"], RowShape::List([2])), "y", None),
            of_tensors(&one, false),
            of_tensors(&one, true),
            of_tensors(&renamed, false),
            of_tensors(&retyped, false),
            of_tensors(&gives_more, false),
        ];
        let texts = |a: &str, b: &str| Data::String(vec![a.into(), b.into()]);
        let rows = [
            texts("a", "bc"),
            texts("ab", "c"),
            texts("", "abc"),
            texts("abc", ""),
            Data::Float32(vec![0.0, 1.0]),
            Data::Float32(vec![-0.0, 1.0]),
            Data::Float32(vec![1.0, 0.0]),
            Data::Float32(vec![f32::NAN, 0.0]),
            Data::Int64(vec![0, 1]),
        ];
        let mut seen = HashSet::new();
        for (i, maker) in makers.iter().enumerate() {
            for row in &rows {
                let tensor = Tensor::new(vec![1, 2], row.clone()).unwrap();
                let key = maker.key(&Inputs::rows(vec![tensor.clone()], 1), 0);
                assert!(seen.insert(key), "maker {i}, {row:?}");
                let same = maker.key(&Inputs::rows(vec![tensor.select([0, 0].into_iter())], 2), 1);
                assert_eq!(same, key, "the same row has the same key, wherever it stands");
            }
        }
    }

    #[test]
    fn of_tensors_the_shape_makes_another_key() {
        let takes = [declared("a", Element::Int64), declared("b", Element::Int64)];
        let maker = KeyMaker::of_tensors(&"m".parse().unwrap(), &[0; 32], (&takes, &[]), false);
        let tensor = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            Tensor::new(shape.to_vec(), Data::Int64(vec![7; count])).unwrap()
        };
        let shapes: [(&[usize], &[usize]); 7] = [
            (&[4], &[2]),
            (&[2, 2], &[2]),
            (&[4, 1], &[2]),
            (&[1, 4], &[2]),
            (&[2], &[4]),
            (&[4], &[2, 1]),
            (&[4], &[1, 2]),
        ];
        let keys: HashSet<CacheKey> = shapes
            .iter()
            .map(|(a, b)| maker.key(&Inputs::whole(vec![tensor(a), tensor(b)]), 0))
            .collect();
        assert_eq!(keys.len(), shapes.len());
    }
}
