//! The network between the two sites: forwards connections, and can be cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the listening thread looks whether it shall end.
const ACCEPT_STEP: Duration = Duration::from_millis(20);
const COPY_BYTES: usize = 64 << 10;

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    ended: AtomicBool,
    /// Both ends of every connection being forwarded.
    open: Mutex<Vec<TcpStream>>,
}

/// Forwards whatever connects to it to one address.
pub struct Forwarder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Forwarder {
    /// Listens on a free port of this machine.
    pub fn start(to: SocketAddr) -> io::Result<Forwarder> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, to, &theirs));
        Ok(Forwarder { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and every new one until [`Forwarder::heal`].
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.close_all();
    }

    /// Forwards again.
    pub fn heal(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
    }
}

impl Shared {
    fn close_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have been closed by the other side meanwhile.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Puts a connection on the list, or refuses it if the network was cut since it was made.
    fn admit(&self, ends: [&TcpStream; 2]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        for end in ends {
            open.push(end.try_clone()?);
        }
        Ok(())
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::SeqCst) {
        match listener.accept() {
            // Dropping the stream closes it: that is all a cut network has to say.
            Ok((near, _)) => drop(forward(near, to, shared)),
            Err(_) => thread::sleep(ACCEPT_STEP),
        }
    }
}

fn forward(near: TcpStream, to: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    if shared.cut.load(Ordering::SeqCst) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    near.set_nonblocking(false)?;
    let far = TcpStream::connect(to)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    shared.admit([&near, &far])?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            copy(&from, &to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

/// Moves bytes until one side ends.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut part = vec![0; COPY_BYTES];
    while let Ok(count @ 1..) = from.read(&mut part) {
        if to.write_all(part.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn echo_server() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || copy(&stream, &stream));
            }
        });
        address
    }

    fn echoes(stream: &mut TcpStream) -> io::Result<bool> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"hello")
    }

    #[test]
    fn forwards_cuts_and_heals() {
        let forwarder = Forwarder::start(echo_server()).unwrap();
        let mut first = TcpStream::connect(forwarder.address()).unwrap();
        assert!(echoes(&mut first).unwrap());
        forwarder.cut();
        assert!(echoes(&mut first).is_err());
        assert!(
            TcpStream::connect(forwarder.address())
                .and_then(|mut s| echoes(&mut s))
                .is_err()
        );
        forwarder.heal();
        assert!(echoes(&mut TcpStream::connect(forwarder.address()).unwrap()).unwrap());
    }
}
