//! Tells that a key is not in a run on disk: a Bloom filter whose bits for one key lie in one block.
//!
//! A block is eight words of 32 bits, and a key sets one bit in each (Putze, Sanders, Singler, "Cache-, Hash- and
//! Space-Efficient Bloom Filters", 2007; the layout is that of Apache Parquet). 12 bits per key: about 1 key in
//! 200 that is not there is taken for one that is.

const BITS_PER_KEY: usize = 12;
const WORDS: usize = 8;
/// Odd numbers, one for each word of a block.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A filter over fingerprints.
#[derive(Debug)]
pub struct Filter {
    blocks: Box<[[u32; WORDS]]>,
}

impl Filter {
    /// An empty one for so many keys.
    pub fn new(keys: usize) -> Filter {
        let blocks = (keys * BITS_PER_KEY).div_ceil(WORDS * 32).max(1);
        Filter {
            blocks: vec![[0; WORDS]; blocks].into(),
        }
    }

    /// What it takes.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.len() * WORDS * 4
    }

    /// The block of a key, and its bits there. Runs are cut by the upper end of the fingerprint, so all of it is
    /// mixed anew.
    fn place(&self, fingerprint: u64) -> (usize, [u32; WORDS]) {
        let mixed = fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let block = (mixed >> 32) * self.blocks.len() as u64 >> 32;
        let low = mixed as u32;
        (
            block as usize,
            SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)),
        )
    }

    /// Adds a key.
    pub fn add(&mut self, fingerprint: u64) {
        let (block, bits) = self.place(fingerprint);
        for (word, bit) in self.blocks[block].iter_mut().zip(bits) {
            *word |= bit;
        }
    }

    /// Whether the key may have been added; false is certain.
    #[inline]
    pub fn may_hold(&self, fingerprint: u64) -> bool {
        let (block, bits) = self.place(fingerprint);
        let words = &self.blocks[block];
        words
            .iter()
            .zip(bits)
            .fold(0, |missing, (word, bit)| missing | (bit & !word))
            == 0
    }
}
