//! A forwarder between two ends of a TCP link, whose faults a test sets.
//!
//! Every connection has two pump threads, one per direction. A pump looks at the fault in force before it
//! reads and again before it writes, so a stall holds from the next chunk on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A direction, seen from the side that dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

#[derive(Debug, Default, Clone, Copy)]
struct Fault {
    stalled: bool,
    delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    closed: bool,
    there: Fault,
    back: Fault,
    /// Both sockets of every open connection, so that a cut reaches them.
    sockets: Vec<TcpStream>,
}

impl State {
    fn fault(&self, way: Way) -> Fault {
        match way {
            Way::There => self.there,
            Way::Back => self.back,
        }
    }

    fn fault_mut(&mut self, way: Way) -> &mut Fault {
        match way {
            Way::There => &mut self.there,
            Way::Back => &mut self.back,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits while this direction is stalled; false once the link is cut.
    fn pass(&self, way: Way) -> bool {
        let mut state = self.lock();
        while state.fault(way).stalled && !state.cut && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.cut && !state.closed
    }
}

/// A forwarder; it ends with its value.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a port of its own and forwards to a port of this machine.
    pub fn start(target: u16) -> Self {
        let port = super::ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the forwarder's port");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, target, &own));
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Resets every connection, and every new one until [`Proxy::heal`].
    pub fn cut(&self) {
        self.shared.change(|state| {
            state.cut = true;
            reset_all(state);
        });
    }

    /// Resets the connections of this moment; new ones are let through.
    pub fn drop_connections(&self) {
        self.shared.change(reset_all);
    }

    /// Stops one direction and keeps the connections open, as a black hole does.
    pub fn stall(&self, way: Way) {
        self.shared.change(|state| state.fault_mut(way).stalled = true);
    }

    /// Lets a stalled direction go on where it was.
    pub fn release(&self, way: Way) {
        self.shared.change(|state| state.fault_mut(way).stalled = false);
    }

    /// Hands every chunk over only after `delay`, in order.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.shared.change(|state| state.fault_mut(way).delay = delay);
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.shared.change(|state| {
            state.cut = false;
            state.there = Fault::default();
            state.back = Fault::default();
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.closed = true;
            reset_all(state);
        });
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn reset_all(state: &mut State) {
    for socket in state.sockets.drain(..) {
        reset(&socket);
    }
}

/// Closes for both directions. With no time to linger the peer may see a reset, as from a broken path.
fn reset(socket: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    let _ = socket.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, target: u16, shared: &Arc<Shared>) {
    for incoming in listener.incoming() {
        let Ok(near) = incoming else { continue };
        if shared.lock().closed {
            return;
        }
        if shared.lock().cut {
            reset(&near);
            continue;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], target));
        let Ok(far) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else {
            reset(&near);
            continue;
        };
        let _ = near.set_nodelay(true);
        let _ = far.set_nodelay(true);
        let ends = [
            near.try_clone(),
            far.try_clone(),
            near.try_clone(),
            far.try_clone(),
        ];
        let [Ok(near_kept), Ok(far_kept), Ok(near_write), Ok(far_write)] = ends else {
            continue;
        };
        shared.change(|state| {
            if state.cut {
                reset(&near_kept);
                reset(&far_kept);
            } else {
                state.sockets.extend([near_kept, far_kept]);
            }
        });
        pump(near, far_write, Way::There, Arc::clone(shared));
        pump(far, near_write, Way::Back, Arc::clone(shared));
    }
}

/// One direction of one connection. The bounded queue between its two threads carries the delay.
fn pump(mut from: TcpStream, mut to: TcpStream, way: Way, shared: Arc<Shared>) {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(Instant, Vec<u8>)>(256);
    let writer_shared = Arc::clone(&shared);
    thread::spawn(move || {
        for (due, chunk) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if !writer_shared.pass(way) || to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut chunk = vec![0; 65_536];
        while shared.pass(way) {
            match from.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    let delay = shared.lock().fault(way).delay;
                    if sender
                        .send((Instant::now() + delay, chunk[..n].to_vec()))
                        .is_err()
                    {
                        break;
                    }
                }
            }
        }
        let _ = from.shutdown(Shutdown::Both);
    });
}
