//! Elements as bytes, as the Open Inference Protocol packs them: little-endian, one after the other; a bool is a byte, and a
//! text is its length in four bytes and then itself.

use half::f16;

use super::element::Element;
use super::tensor::Data;

/// Why bytes are no elements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// They do not divide into elements.
    #[error("{got} bytes are no whole number of {} elements, which have {size} each", .element.datatype())]
    Length {
        /// What they should be.
        element: Element,
        /// The bytes of one.
        size: usize,
        /// How many there are.
        got: usize,
    },
    /// A length that goes beyond the end.
    #[error("the bytes end within text {0}")]
    Short(usize),
    /// Not UTF-8, or with a NUL in it.
    #[error("text {0} is not UTF-8, or holds a NUL: a model's texts are neither")]
    Text(usize),
    /// Neither 0 nor 1.
    #[error("element {0} is neither 0 nor 1, and so no BOOL")]
    Bool(usize),
}

/// The bytes of elements.
pub fn encode(data: &Data) -> Vec<u8> {
    macro_rules! plain {
        ($items:expr) => {
            $items.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    match data {
        Data::Float16(items) => plain!(items),
        Data::Float32(items) => plain!(items),
        Data::Float64(items) => plain!(items),
        Data::Int8(items) => plain!(items),
        Data::Int16(items) => plain!(items),
        Data::Int32(items) => plain!(items),
        Data::Int64(items) => plain!(items),
        Data::Uint8(items) => items.clone(),
        Data::Uint16(items) => plain!(items),
        Data::Uint32(items) => plain!(items),
        Data::Uint64(items) => plain!(items),
        Data::Bool(items) => items.iter().map(|b| u8::from(*b)).collect(),
        Data::String(items) => {
            let mut bytes = Vec::with_capacity(items.iter().map(|s| s.len() + 4).sum());
            for text in items {
                // Bodies are bounded far below four gigabytes, and so are texts.
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            bytes
        }
    }
}

/// The elements of bytes.
///
/// # Errors
/// [`RawError`]
pub fn decode(element: Element, bytes: &[u8]) -> Result<Data, RawError> {
    if let Some(size) = element.size()
        && !bytes.len().is_multiple_of(size)
    {
        return Err(RawError::Length {
            element,
            size,
            got: bytes.len(),
        });
    }
    macro_rules! plain {
        ($variant:ident, $type:ty) => {
            Data::$variant(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| <$type>::from_le_bytes(*b))
                    .collect(),
            )
        };
    }
    Ok(match element {
        Element::Float16 => plain!(Float16, f16),
        Element::Float32 => plain!(Float32, f32),
        Element::Float64 => plain!(Float64, f64),
        Element::Int8 => plain!(Int8, i8),
        Element::Int16 => plain!(Int16, i16),
        Element::Int32 => plain!(Int32, i32),
        Element::Int64 => plain!(Int64, i64),
        Element::Uint8 => Data::Uint8(bytes.to_vec()),
        Element::Uint16 => plain!(Uint16, u16),
        Element::Uint32 => plain!(Uint32, u32),
        Element::Uint64 => plain!(Uint64, u64),
        Element::Bool => {
            let bool = |(i, byte): (usize, &u8)| match byte {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(RawError::Bool(i)),
            };
            Data::Bool(bytes.iter().enumerate().map(bool).collect::<Result<_, _>>()?)
        }
        Element::String => Data::String(texts(bytes)?),
    })
}

fn texts(mut bytes: &[u8]) -> Result<Vec<String>, RawError> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let at = texts.len();
        let (length, rest) = bytes.split_first_chunk().ok_or(RawError::Short(at))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| RawError::Short(at))?;
        let (text, rest) = rest.split_at_checked(length).ok_or(RawError::Short(at))?;
        let text = str::from_utf8(text).ok().filter(|text| !text.contains('\0'));
        texts.push(text.ok_or(RawError::Text(at))?.to_owned());
        bytes = rest;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_were() {
        let cases = [
            Data::Float16(vec![f16::from_f32(1.5)]),
            Data::Float32(vec![0.1, f32::INFINITY]),
            Data::Int8(vec![-1, 1]),
            Data::Uint64(vec![u64::MAX]),
            Data::Bool(vec![true, false]),
            Data::String(vec!["".into(), "ü".into()]),
        ];
        for data in cases {
            assert_eq!(decode(data.element(), &encode(&data)), Ok(data));
        }
        assert_eq!(encode(&Data::Int32(vec![1, -1])), [1, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(encode(&Data::String(vec!["ab".into()])), [2, 0, 0, 0, b'a', b'b']);
    }

    #[test]
    fn bytes_that_are_no_elements_are_refused() {
        let message = |element, bytes: &[u8]| decode(element, bytes).unwrap_err().to_string();
        assert_eq!(
            message(Element::Float32, &[0; 5]),
            "5 bytes are no whole number of FP32 elements, which have 4 each"
        );
        assert_eq!(
            message(Element::Bool, &[1, 2]),
            "element 1 is neither 0 nor 1, and so no BOOL"
        );
        assert_eq!(message(Element::String, &[1, 0, 0, 0]), "the bytes end within text 0");
        assert_eq!(message(Element::String, &[1, 0]), "the bytes end within text 0");
        assert!(message(Element::String, &[1, 0, 0, 0, 0xff]).starts_with("text 0 is not UTF-8"));
        assert!(message(Element::String, &[1, 0, 0, 0, 0]).starts_with("text 0 is not UTF-8"));
    }
}
