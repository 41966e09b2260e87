//! stub
pub mod encode {
    //! stub
    use bytes::{BufMut, BytesMut};
    /// stub
    pub fn command(out: &mut BytesMut, args: &[&[u8]]) {
        out.put_slice(format!("*{}\r\n", args.len()).as_bytes());
        for arg in args {
            out.put_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.put_slice(arg);
            out.put_slice(b"\r\n");
        }
    }
}
