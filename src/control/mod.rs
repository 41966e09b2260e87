//! Control: what a running syncer tells about itself, and how it is asked.
//!
//! Owns the views (the status as values), their rendering for people ([`table()`]) and for collectors
//! ([`metrics()`]), the requests and responses of the control socket, and in `io.rs` the socket itself.
//! Depends on `suggest` only: whoever runs the engine fills the views in.
//!
//! Invariants: a view is a plain value without locks or references into the engine; text from outside
//! (errors of databases and peers) reaches a terminal without control characters; a field's name, once
//! released, keeps its meaning, for scripts read `syncer status --json`.

mod columns;
#[cfg(feature = "io")]
pub mod io;
mod metrics;
#[cfg(feature = "io")]
mod request;
mod table;
mod view;
#[cfg(feature = "io")]
pub mod words;

pub use metrics::{Kind, Sample, metrics};
#[cfg(feature = "io")]
pub use request::{
    ClusterRequest, KeyText, PEM_BYTES_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Request, Response,
};
pub use table::table;
pub use view::{
    CertificateView, CertificatesView, DatabaseLink, DatabaseView, LinksView, LogView, OriginView, PeerState,
    PeerView, StatusView, StoreView, TotalsView, TrafficView, WindowView,
};

#[cfg(test)]
mod tests;
