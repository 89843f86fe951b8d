//! `GET /docs/`: `/openapi.json` as pages. All that they load is part of this program: they need no network.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use service::error::ApiError;
use service::http::PathParams;
use utoipa_swagger_ui::Config;

/// The pages, and what they load.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(|| async { serve("index.html") }))
        .route("/docs/{file}", get(file))
}

async fn file(PathParams(name): PathParams<String>) -> Response {
    serve(&name)
}

fn serve(name: &str) -> Response {
    // Without "none", the pages have the document checked by a server of their makers.
    let config = Config::new(["/openapi.json"])
        .validator_url("none")
        .try_it_out_enabled(true)
        .display_request_duration(true);
    match utoipa_swagger_ui::serve(name, Arc::new(config)) {
        Ok(Some(file)) => ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response(),
        Ok(None) => ApiError::not_found("unknown_path", format!("there is nothing at /docs/{name}")).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}
