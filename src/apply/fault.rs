//! Errors of the database, by what can be done about them.

/// Why the database does not take a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It will, later, without anybody's help or after an operator's: the transaction is tried again.
    Later,
    /// It will never take this command.
    Never,
    /// It did not take the one that was sent before; this one goes out again behind that.
    Order,
}

/// What stands for an EXEC that was answered with nothing; see [`Link`](crate::echo::Link).
pub(super) const OUT_OF_ORDER: &[u8] = b"EXECABORT the transaction before it was not executed";

/// Codes of errors that pass, with the versions' own spelling (Redis `server.c`, `shared` errors).
const PASSING: &[&[u8]] = &[
    b"OOM",
    b"READONLY",
    b"LOADING",
    b"BUSY",
    b"NOAUTH",
    b"MISCONF",
    b"NOREPLICAS",
    b"MASTERDOWN",
    b"CLUSTERDOWN",
    b"TRYAGAIN",
    b"NOPERM",
    b"UNKILLABLE",
    b"NOGOODSLAVE",
];

impl Fault {
    /// Judges an error by its first word.
    pub fn of(error: &[u8]) -> Fault {
        if error == OUT_OF_ORDER {
            return Fault::Order;
        }
        let code = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        if PASSING.contains(&code) {
            Fault::Later
        } else {
            Fault::Never
        }
    }
}
