//! Commands and replies in RESP, as far as the simulation needs them; written anew, so that a mistake of the
//! engine's own framing cannot hide here.

/// One argument.
pub type Word = Vec<u8>;
/// A command, its name first.
pub type Words = Vec<Word>;

/// Makes a command of words parted by spaces.
pub fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// A command in RESP.
pub fn command(out: &mut Vec<u8>, words: &[Word]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bulk(out, word);
    }
}

fn bulk(out: &mut Vec<u8>, word: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// The command at the start of the bytes, and its length, if it is whole.
pub fn parse(buf: &[u8]) -> Option<(Words, usize)> {
    let (count, mut at) = number(buf, 0, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, begin) = number(buf, at, b'$')?;
        words.push(buf.get(begin..begin + len)?.to_vec());
        at = begin + len + 2;
    }
    (at <= buf.len()).then_some((words, at))
}

fn number(buf: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let line = buf.get(at..)?;
    let end = line.iter().position(|&byte| byte == b'\n')?;
    assert_eq!(line[0], mark, "the engine sent something that is no command");
    let text = std::str::from_utf8(&line[1..end - 1]).expect("a number in ASCII");
    Some((text.parse().expect("a length"), at + end + 1))
}

/// What a database answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// OK, QUEUED and the like.
    Simple(&'static str),
    /// A number.
    Int(i64),
    /// A string.
    Bulk(Word),
    /// Nothing.
    Null,
    /// Several.
    Array(Vec<Reply>),
    /// An error.
    Error(String),
}

impl Reply {
    /// The reply in RESP.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Reply::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Reply::Bulk(word) => bulk(out, word),
            Reply::Null => out.extend_from_slice(b"$-1\r\n"),
            Reply::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Reply::Array(replies) => {
                out.extend_from_slice(format!("*{}\r\n", replies.len()).as_bytes());
                replies.iter().for_each(|reply| reply.encode(out));
            }
        }
    }
}

/// A command for a human.
pub fn show(words: &[Word]) -> String {
    let word = |word: &Word| match std::str::from_utf8(word) {
        Ok(text) if !text.contains(|c: char| c.is_control()) && text.len() < 60 => text.to_owned(),
        _ => format!("<{} bytes>", word.len()),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}
