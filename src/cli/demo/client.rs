//! A small blocking client of a database: pipelines, and reads replies with the room `resp`.

use bytes::BytesMut;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use syncer::resp::reply::{self, Extent, Value};
use syncer::resp::{Limits, encode};

/// How long a database on this machine may take for anything.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 << 10;

/// Commands to be sent at once.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Adds a command, its name first.
    pub fn push(&mut self, args: &[&[u8]]) {
        encode::command(&mut self.bytes, args);
        self.count += 1;
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    inbox: BytesMut,
    extent: Extent,
}

impl Client {
    /// Connects to a database on this machine.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Client {
            stream,
            inbox: BytesMut::new(),
            extent: Extent::new(),
        })
    }

    /// One command and its reply.
    pub fn call(&mut self, args: &[&str]) -> io::Result<Value> {
        let mut batch = Batch::default();
        batch.push(&args.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>());
        self.send(&batch)?
            .pop()
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends a batch and waits for all its replies. Its size should stay well under the socket's buffers.
    pub fn send(&mut self, batch: &Batch) -> io::Result<Vec<Value>> {
        self.stream.write_all(&batch.bytes)?;
        (0..batch.count).map(|_| self.reply()).collect()
    }

    fn reply(&mut self) -> io::Result<Value> {
        loop {
            let value = reply::value(&mut self.inbox, &mut self.extent, &Limits::default());
            let value =
                value.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
            if let Some(value) = value {
                return Ok(value);
            }
            let mut part = [0; READ_BYTES];
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self
                    .inbox
                    .extend_from_slice(part.get(..count).unwrap_or_default()),
            }
        }
    }
}
