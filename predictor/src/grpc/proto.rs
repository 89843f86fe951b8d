//! What the build made of proto/inference.proto.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "made by tonic"
)]

include!(concat!(env!("OUT_DIR"), "/server/inference.rs"));

/// The same as descriptors, for reflection.
pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
