//! What a peer sends is what it says.
//!
//! The rows of a batch reach the database as they came, with the syncer's rights. So each must be one whole command
//! that writes, of the class that it is labelled with: otherwise a payload could pass as a SET, unread, or a command
//! that no client of a database could send through replication at all.

use super::journal::Journal;
use super::site::Site;
use crate::causality::Seq;
use crate::command::{Class, EffectClass};
use crate::op::Batch;
use crate::resp::{FrameError, Scan};

/// Why a batch is refused. Nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// Its bytes are no command.
    #[error("operation {seq} is no command: {error}")]
    Frame {
        /// Its number.
        seq: Seq,
        /// Where and why.
        error: FrameError,
    },
    /// Its bytes are not exactly one command.
    #[error("operation {seq} is not one whole command")]
    NotOne {
        /// Its number.
        seq: Seq,
    },
    /// It is labelled as something else.
    #[error("operation {seq} is labelled as {said:?} and is {name}; the peer is damaged, or lies")]
    Label {
        /// Its number.
        seq: Seq,
        /// The label.
        said: EffectClass,
        /// The command's name.
        name: String,
    },
}

impl<J: Journal> Site<J> {
    /// Looks at every command of a batch that came from a peer.
    ///
    /// # Errors
    /// The first row that is not what it says.
    pub fn check(&mut self, batch: &Batch) -> Result<(), RowFault> {
        for (at, (row, command)) in batch.commands(0, batch.count()).enumerate() {
            let seq = batch.first_seq + at as Seq;
            let scanner = &mut self.past.scanner;
            scanner.reset();
            let len = match scanner.next(command) {
                Err(error) => return Err(RowFault::Frame { seq, error }),
                Ok(Scan::Command { len }) => len,
                Ok(_) => 0,
            };
            let name = scanner.args().first().map_or(&[][..], |arg| arg.of(command));
            if len != command.len() || name.is_empty() {
                return Err(RowFault::NotOne { seq });
            }
            let fits = match self.past.learned.spec(name).map(|spec| spec.class) {
                Some(class) => class == Class::Write(row.class),
                // A newer server's or a module's, which this database does not have: it will refuse it by itself.
                None => row.class == EffectClass::Opaque && !self.past.learned.is_no_write(name),
            };
            if !fits {
                return Err(RowFault::Label {
                    seq,
                    said: row.class,
                    name: String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::causality::{Hlc, SiteIx, Vector};
    use crate::flow::window_tests::{Memory, site};
    use crate::op::{Builder, Row, Source};

    /// A batch of the other site with one row.
    fn check(class: EffectClass, command: &'static [u8]) -> Result<(), RowFault> {
        let mut builder = Builder::default();
        let row = Row {
            end: 0,
            flags: 0,
            class,
            db: 0,
            fingerprint: 7,
        };
        builder.push_owned(Bytes::from_static(command), row, &[]);
        let source = Source {
            replication_id: [b'1'; 40],
            offset: 1,
            db: 0,
        };
        let (place, first) = (builder.place(), (1, Hlc(9)));
        let batch = builder.finish(place, SiteIx(1), first, Vector::zero(2), source);
        site("a", "b", Memory::default()).check(&batch.unwrap())
    }

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

    #[test]
    fn what_is_as_it_says_is_taken() {
        assert_eq!(check(EffectClass::Set, SET), Ok(()));
        assert_eq!(
            check(EffectClass::Opaque, b"*2\r\n$8\r\nMOD.SETX\r\n$1\r\nk\r\n"),
            Ok(())
        );
    }

    #[test]
    fn a_label_that_lies_is_named() {
        let config = b"*2\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n";
        assert!(check(EffectClass::Opaque, config).is_err());
        let restore = b"*4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n0\r\n$1\r\nx\r\n";
        let fault = check(EffectClass::Set, restore).unwrap_err();
        assert!(
            fault.to_string().contains("labelled as Set and is RESTORE"),
            "{fault}"
        );
        for command in [
            &b"*1\r\n$8\r\nSHUTDOWN\r\n"[..],
            b"*2\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n",
            b"*1\r\n$4\r\nEXEC\r\n",
        ] {
            let fault = check(EffectClass::Delete, command).unwrap_err();
            assert!(matches!(fault, RowFault::Label { .. }), "{fault}");
        }
    }

    #[test]
    fn a_row_is_one_whole_command() {
        let two = [SET, SET].concat().leak();
        assert_eq!(check(EffectClass::Set, two), Err(RowFault::NotOne { seq: 1 }));
        assert_eq!(
            check(EffectClass::Set, &SET[..20]),
            Err(RowFault::NotOne { seq: 1 })
        );
        assert!(matches!(
            check(EffectClass::Set, b"*x\r\n"),
            Err(RowFault::Frame { .. })
        ));
        assert_eq!(
            check(EffectClass::Set, b"SET k v\r\n"),
            Err(RowFault::NotOne { seq: 1 })
        );
    }
}
