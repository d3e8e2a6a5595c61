//! HTTP beside the node: health for whoever restarts it, status for whoever looks. It reads what the node's thread
//! published and never waits for it, so a stalled disk does not fail liveness.

use std::io;
use std::net::TcpListener;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};

use super::metrics::Metrics;
use super::status::StatusCell;

/// Serves HTTP on `listener` from a thread of its own, until the process ends.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start(listener: TcpListener, status: StatusCell, metrics: Metrics) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let router = Router::new()
        // Whatever the method: who tries webhooks out posts here.
        .route("/health", any(|| async { "OK" }))
        .route("/livez", get(|| async { "OK" }))
        .route("/readyz", get(ready))
        .route("/status", get(report))
        .route("/metrics", get(scrape))
        .with_state((status, metrics));
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router).await
    };
    thread::Builder::new().name("http".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "HTTP has stopped");
        }
    })?;
    Ok(())
}

async fn ready(State((status, _)): State<(StatusCell, Metrics)>) -> (StatusCode, &'static str) {
    if status.get().ready { (StatusCode::OK, "OK") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") }
}

async fn scrape(State((status, metrics)): State<(StatusCell, Metrics)>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics.text(&status.get()))
}

async fn report(State((status, _)): State<(StatusCell, Metrics)>) -> impl IntoResponse {
    let body = serde_json::to_string(&status.get()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body)
}

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
