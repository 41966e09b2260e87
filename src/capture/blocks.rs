//! Read blocks: large buffers that are handed out in pieces and come back when nobody holds a piece.

use std::collections::VecDeque;

use bytes::BytesMut;

/// A buffer has to have room for this share of a block, or the next block is begun.
const ROOM_SHARE: usize = 16;

/// A buffer that grew to more than so many blocks is given back once its large command is through.
const GROWN_SHARE: usize = 4;

/// Keeps blocks whose pieces are still out, to use them again once they are free.
#[derive(Debug)]
pub struct Blocks {
    block_bytes: usize,
    spare_max: usize,
    spare: VecDeque<BytesMut>,
}

impl Blocks {
    /// Blocks of `block_bytes`, at most `spare_max` of them kept.
    pub fn new(block_bytes: usize, spare_max: usize) -> Blocks {
        Blocks {
            block_bytes: block_bytes.max(ROOM_SHARE),
            spare_max,
            spare: VecDeque::with_capacity(spare_max),
        }
    }

    /// Makes room behind what `buffer`, a block taken here, holds. Its bytes move (are copied) only when its block is used up;
    /// an incomplete command larger than a block makes the buffer double.
    pub fn make_room(&mut self, buffer: &mut BytesMut) {
        let room = buffer.capacity() - buffer.len();
        if room >= self.block_bytes / ROOM_SHARE && !self.is_too_large(buffer) {
            return;
        }
        if buffer.len() >= self.block_bytes / 2 {
            buffer.reserve(buffer.len().max(self.block_bytes));
            return;
        }
        if buffer.try_reclaim(self.block_bytes - buffer.len()) && !self.is_too_large(buffer) {
            return;
        }
        let mut fresh = self.take();
        fresh.extend_from_slice(buffer);
        buffer.clear();
        let used = std::mem::replace(buffer, fresh);
        if self.spare.len() < self.spare_max {
            self.spare.push_back(used);
        }
    }

    /// A block with nothing in it: a spare one that is free, else a new one.
    pub fn take(&mut self) -> BytesMut {
        for _ in 0..self.spare.len() {
            let Some(mut block) = self.spare.pop_front() else {
                break;
            };
            if !block.try_reclaim(self.block_bytes) {
                self.spare.push_back(block);
            } else if !self.is_too_large(&block) {
                return block;
            }
        }
        BytesMut::with_capacity(self.block_bytes)
    }

    /// True for a buffer that grew for a large command which is no longer in it.
    fn is_too_large(&self, buffer: &BytesMut) -> bool {
        buffer.capacity() > GROWN_SHARE * self.block_bytes && buffer.len() < self.block_bytes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut BytesMut, byte: u8) {
        let room = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(&vec![byte; room]);
    }

    #[test]
    fn a_free_block_is_used_again_and_a_tail_stays_contiguous() {
        let mut blocks = Blocks::new(1024, 2);
        let mut buffer = blocks.take();
        assert!(buffer.capacity() >= 1024);
        let first = buffer.as_ptr();
        fill(&mut buffer, 1);
        let piece = buffer.split_to(buffer.len() - 10).freeze();
        blocks.make_room(&mut buffer);
        assert_eq!(&buffer[..], &[1; 10]);
        assert_ne!(buffer.as_ptr(), first);
        drop(piece);
        fill(&mut buffer, 2);
        let piece = buffer.split().freeze();
        blocks.make_room(&mut buffer);
        assert_eq!(buffer.as_ptr(), first, "the first block is free again");
        assert_eq!(piece[..10], [1; 10]);
    }

    #[test]
    fn an_incomplete_command_larger_than_a_block_grows_by_doubling() {
        let mut blocks = Blocks::new(1024, 2);
        let mut buffer = blocks.take();
        let mut rounds = 0;
        while buffer.len() < 1 << 20 {
            blocks.make_room(&mut buffer);
            fill(&mut buffer, 7);
            rounds += 1;
        }
        assert!(rounds < 16, "{rounds} rounds");
        assert!(buffer.capacity() < 4 << 20);
        assert!(buffer.iter().all(|&b| b == 7));
        drop(buffer.split());
        blocks.make_room(&mut buffer);
        fill(&mut buffer, 7);
        drop(buffer.split());
        blocks.make_room(&mut buffer);
        assert!(buffer.capacity() <= 4096, "the large buffer is given back");
    }
}
