//! The few commands a replica says.

/// Appends one command in RESP.
pub(super) fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    number(out, b'*', args.len() as u64);
    for arg in args {
        number(out, b'$', arg.len() as u64);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(out: &mut Vec<u8>, sigil: u8, n: u64) {
    out.push(sigil);
    out.extend_from_slice(n.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `REPLCONF ACK offset`. The database never answers it.
pub fn replconf_ack(out: &mut Vec<u8>, offset: u64) {
    command(out, &[b"REPLCONF", b"ACK", offset.to_string().as_bytes()]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ack_is_a_command() {
        let mut out = Vec::new();
        super::replconf_ack(&mut out, 1234);
        assert_eq!(out, b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$4\r\n1234\r\n");
    }
}
