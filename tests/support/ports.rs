//! Loopback ports that stay ours while the process behind them is down.
//!
//! They lie below the range from which the kernel takes the ports of outgoing connections: otherwise a
//! client's socket could sit on the port of a server that a test has just stopped and wants to start again.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 15_000;
const COUNT: u32 = 17_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on and that no other test of this process was given.
///
/// It is asked by connecting. A listener opened to try the port would live on for a moment in a process that
/// another test forks just then: the server could not bind, or its first client would be reset.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(n) % COUNT) as u16;
        let answer = TcpStream::connect(("127.0.0.1", port));
        if answer.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
            return port;
        }
    }
    panic!("no free port on loopback between {FIRST} and {}", FIRST + COUNT);
}
