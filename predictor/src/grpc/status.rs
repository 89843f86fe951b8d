//! Errors as gRPC tells them: the one place that does.

use axum::http::StatusCode;
use service::error::ApiError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::control::ControlError;
use crate::predict::PredictError;

/// Where the code for programs is: `unknown_model`, …
const CODE: &str = "larder-code";

/// Characters of a sentence: clients refuse answers whose metadata is larger than 8 KiB.
const LONGEST: usize = 2_000;

/// An error as gRPC tells it.
pub(super) fn of(error: impl Into<ApiError>) -> Status {
    let error: ApiError = error.into();
    let code = match error.status {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let message = match error.message.char_indices().nth(LONGEST) {
        None => error.message,
        Some((end, _)) => format!("{}…", &error.message[..end]),
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(error.code));
    Status::with_metadata(code, message, metadata)
}

impl From<PredictError> for Status {
    fn from(error: PredictError) -> Self {
        of(error)
    }
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        of(error)
    }
}
