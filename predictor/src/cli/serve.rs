//! `predictor serve`: configuration, models, listen, drain.

use std::net::SocketAddr;
use std::num::NonZero;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::{ArgAction, Args};
use feature_defs::time::{Span, SystemClock};
use service::http::Limits;
use service::reload::Changes;
use service::{lifecycle, server, telemetry};
use tokio::net::TcpListener;

use super::args::{LoadArgs, ModelArgs, RedisArgs};
use crate::app::{App, Settings};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    redis: RedisArgs,
    /// Address to listen at; loopback only unless told otherwise
    #[arg(
        long,
        env = "LARDER_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Address to answer gRPC at, or `off`
    #[arg(
        long,
        env = "LARDER_GRPC_LISTEN",
        default_value = "127.0.0.1:8081",
        value_name = "ADDRESS"
    )]
    grpc_listen: GrpcListen,
    /// Instances that one request may have
    #[arg(long, env = "LARDER_MAX_INSTANCES", default_value_t = Settings::MAX_INSTANCES, value_name = "N")]
    max_instances: NonZero<usize>,
    /// Bytes that one request may have
    #[arg(long, env = "LARDER_MAX_BODY_BYTES", default_value_t = Settings::LIMITS.body_bytes, value_name = "BYTES")]
    max_body_bytes: usize,
    /// Requests that are served at once; one more gets 429
    #[arg(long, env = "LARDER_MAX_IN_FLIGHT", default_value_t = Settings::LIMITS.in_flight, value_name = "N")]
    max_in_flight: usize,
    /// Threads that answer HTTP, each with connections of its own [default: one a processor]
    #[arg(long, env = "LARDER_THREADS", value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Whether callers may load, unload and promote models
    #[arg(long, env = "LARDER_MODEL_CONTROL", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    model_control: bool,
    /// How long requests in flight may take when stopping
    #[arg(long, env = "LARDER_DRAIN", default_value = "10s", value_name = "TIME")]
    drain: Span,
}

/// Where gRPC is answered.
#[derive(Debug, Clone, Copy)]
enum GrpcListen {
    Off,
    At(SocketAddr),
}

impl FromStr for GrpcListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => {
                let address = address
                    .parse()
                    .map_err(|_| "neither an address with a port nor `off`".to_owned());
                address.map(Self::At)
            }
        }
    }
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let stop = lifecycle::stop_on_signal().context("cannot listen to signals")?;
        // Before the models: their meters bind to it.
        telemetry::metrics_handle();
        // Before definitions and models are read, so that no change is missed.
        let changes = Changes::of(&[&self.load.features, &self.models.models]).context("cannot listen to SIGHUP")?;
        let definitions = self.load.definitions()?;
        let app = App::load(&self.settings()?, &definitions, Arc::new(SystemClock), None)?;
        let grpc_listener = match self.grpc_listen {
            GrpcListen::Off => None,
            GrpcListen::At(address) => Some(TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen at {address} (--grpc-listen, LARDER_GRPC_LISTEN: another address, or `off`)")
            })?),
        };
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen at {} (--listen, LARDER_LISTEN)", self.listen))?;
        let freshness = tokio::spawn({
            let (app, stop) = (Arc::clone(&app), stop.clone());
            async move { app.keep_fresh(stop).await }
        });
        let reloads = tokio::spawn(Arc::clone(&app).follow(changes, stop.clone()));
        for served in app.models().serving() {
            let model = &served.serving.model;
            tracing::info!(%model.name, %model.version, "serving");
        }
        tracing::info!("listening at http://{}", listener.local_addr()?);
        let drain = self.drain.to_std();
        let threads = self.threads.unwrap_or_else(Settings::one_a_processor);
        let http = server::serve_on_threads(listener, app.router(), threads, stop.clone(), drain);
        let grpc = async {
            let Some(listener) = grpc_listener else { return Ok(()) };
            tracing::info!("answering gRPC at {}", listener.local_addr()?);
            app.serve_grpc(listener, stop.clone(), drain).await
        };
        tokio::try_join!(http, grpc)?;
        stop.cancel();
        freshness.await?;
        reloads.await?;
        Ok(())
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            features: self.load.features.clone(),
            models: self.models.models.clone(),
            onnxruntime: self.load.onnxruntime.clone(),
            redis: self.redis.features()?,
            cache_redis: self.redis.cache()?,
            sessions: self.models.sessions.unwrap_or_else(Settings::one_a_processor),
            max_instances: self.max_instances,
            model_control: self.model_control,
            limits: Limits {
                body_bytes: self.max_body_bytes,
                in_flight: self.max_in_flight,
                ..Settings::LIMITS
            },
        })
    }
}
