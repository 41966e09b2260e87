//! A small blocking client: pipelines, and reads replies by the redis-protocol crate.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

/// A reply. Texts that are not UTF-8 are kept as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Nil,
    Int(i64),
    Simple(String),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Error(String),
}

impl Reply {
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            Self::Bulk(b) => String::from_utf8_lossy(b)
                .parse()
                .unwrap_or_else(|_| panic!("no number: {self:?}")),
            _ => panic!("no number: {self:?}"),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Simple(s) | Self::Error(s) => s.clone(),
            Self::Bulk(b) => String::from_utf8_lossy(b).into_owned(),
            Self::Int(n) => n.to_string(),
            Self::Nil => "(nil)".into(),
            Self::Array(_) => panic!("an array where text was expected: {self:?}"),
        }
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(b) => Some(b),
            _ => None,
        }
    }

    pub fn array(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            _ => panic!("no array: {self:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    fn from_frame(frame: OwnedFrame) -> Self {
        match frame {
            OwnedFrame::SimpleString(s) => Self::Simple(String::from_utf8_lossy(&s).into_owned()),
            OwnedFrame::Error(e) => Self::Error(e),
            OwnedFrame::Integer(n) => Self::Int(n),
            OwnedFrame::BulkString(b) => Self::Bulk(b),
            OwnedFrame::Array(items) => Self::Array(items.into_iter().map(Self::from_frame).collect()),
            OwnedFrame::Null => Self::Nil,
        }
    }
}

/// The words of a command line; double quotes group, `\n`, `\"` and `\\` are known inside them.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&first) = chars.peek() {
        if first == ' ' {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => match chars.next() {
                    Some('n') => word.push('\n'),
                    Some(c) => word.push(c),
                    None => panic!("a lone backslash ends {line:?}"),
                },
                ' ' if !quoted => break,
                c => word.push(c),
            }
        }
        assert!(!quoted, "an open quote in {line:?}");
        all.push(word.into_bytes());
    }
    all
}

/// Appends one command in RESP.
pub fn encode<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// One connection. The convenient methods panic when the connection breaks; the `try_` ones tell.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Sends bytes that are already encoded, without reading.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one command and leaves its reply for [`Client::try_read`].
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut out = Vec::new();
        encode(&mut out, args);
        self.send_raw(&out)
    }

    pub fn try_read(&mut self) -> io::Result<Reply> {
        loop {
            match decode(&self.buffer[self.start..]) {
                Ok(Some((frame, used))) => {
                    self.start += used;
                    if self.start == self.buffer.len() {
                        self.buffer.clear();
                        self.start = 0;
                    }
                    return Ok(Reply::from_frame(frame));
                }
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 65_536];
            let n = match self.stream.read(&mut chunk) {
                // A child of this process was stopped, or has ended.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }

    pub fn try_args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args)?;
        self.try_read()
    }

    pub fn try_run(&mut self, line: &str) -> io::Result<Reply> {
        self.try_args(&words(line))
    }

    #[track_caller]
    pub fn args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_args(args)
            .unwrap_or_else(|e| panic!("connection lost: {e}"))
    }

    /// One command given as a line; an error reply is returned, not raised.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Reply {
        self.args(&words(line))
    }

    /// One command that must not be refused.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> Reply {
        let reply = self.run(line);
        assert!(!reply.is_error(), "{line}: {}", reply.text());
        reply
    }

    /// Many commands in one write, their replies in order.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let mut out = Vec::new();
        for command in commands {
            encode(&mut out, command);
        }
        self.send_raw(&out)
            .unwrap_or_else(|e| panic!("connection lost: {e}"));
        commands
            .iter()
            .map(|_| self.try_read().unwrap_or_else(|e| panic!("connection lost: {e}")))
            .collect()
    }

    /// Many command lines in pieces, so that neither side's socket buffer can fill up; errors are raised.
    #[track_caller]
    pub fn load<S: AsRef<str>>(&mut self, lines: &[S]) {
        for piece in lines.chunks(500) {
            let commands: Vec<_> = piece.iter().map(|line| words(line.as_ref())).collect();
            for (line, reply) in piece.iter().zip(self.pipeline(&commands)) {
                assert!(!reply.is_error(), "{}: {}", line.as_ref(), reply.text());
            }
        }
    }
}
