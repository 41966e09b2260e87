//! Stand-in on this branch only: answers the status, replicates nothing.
use crate::config::{Secret, Settings};
use crate::control::io::Server;
use crate::control::{DatabaseLink, PeerState, PeerView, Request, Response, StatusView};

/// Stand-in error.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Control(#[from] crate::control::io::Error),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// As the system has it.
pub fn run(settings: Settings, _password: Option<Secret>, _agreed: bool) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::bind(&settings.control_socket())?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let start = std::time::Instant::now();
        let status = |Request::Status| {
            let mut view = StatusView { site: settings.site.to_string(), ..StatusView::default() };
            view.uptime_ms = start.elapsed().as_millis() as u64;
            view.database.link_state = DatabaseLink::Streaming;
            view.peers = settings.peers.iter().map(|p| PeerView { site: p.site.to_string(), state: PeerState::Connected, ..PeerView::default() }).collect();
            Response::Status(Box::new(view))
        };
        tokio::select! { () = server.serve(status) => {}, _ = term.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        Ok(())
    })
}
