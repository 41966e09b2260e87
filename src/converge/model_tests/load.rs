//! What a random history is made of.

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub sites: u8,
    pub writes: usize,
    pub keys: u64,
    pub texts: bool,
    pub sets: bool,
    pub hashes: bool,
    pub sorted: bool,
    pub lists: bool,
    /// Commands on lists that are executed as they came.
    pub edits: bool,
    /// No key is deleted.
    pub queue: bool,
    pub bits: bool,
    pub unions: bool,
    pub expiry: bool,
    /// Expiry times of hash fields; sites with odd numbers have another server than those with even ones.
    pub fields: bool,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            sites: 3,
            writes: 40,
            keys: 2,
            texts: false,
            sets: false,
            hashes: false,
            sorted: false,
            lists: false,
            edits: false,
            queue: false,
            bits: false,
            unions: false,
            expiry: false,
            fields: false,
        }
    }
}
