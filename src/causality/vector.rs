//! Dots and version vectors.

use super::SiteIx;

/// A site's operations are numbered from 1 in stream order; 0 means none.
pub type Seq = u64;

/// Highest number of an operation. A site that did a million a second would need two thousand years; what comes from
/// outside and says more is refused, so that whoever counts on never overflows.
pub const SEQ_MAX: Seq = (1 << 56) - 1;

/// One operation's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The site whose client issued it.
    pub site: SiteIx,
    /// Its number there.
    pub seq: Seq,
}

/// For each site of the roster the highest sequence number that is included, with everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vector(Box<[Seq]>);

impl Vector {
    /// The empty past of a roster of `sites`.
    pub fn zero(sites: usize) -> Vector {
        Vector(vec![0; sites].into())
    }

    /// The highest number included of `site`.
    pub fn get(&self, site: SiteIx) -> Seq {
        self.0[site.at()]
    }

    /// Sets one entry; it must not fall.
    pub fn advance(&mut self, site: SiteIx, seq: Seq) {
        debug_assert!(seq >= self.0[site.at()], "a version vector never falls");
        self.0[site.at()] = seq;
    }

    /// Takes the larger of each entry; true if anything grew.
    pub fn join(&mut self, other: &Vector) -> bool {
        let mut grew = false;
        for (mine, &theirs) in self.0.iter_mut().zip(&other.0) {
            if theirs > *mine {
                *mine = theirs;
                grew = true;
            }
        }
        grew
    }

    /// Takes the smaller of each entry.
    pub fn meet(&mut self, other: &Vector) {
        for (mine, &theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).min(theirs);
        }
    }

    /// Whether the operation is in this past.
    #[inline]
    pub fn includes(&self, dot: Dot) -> bool {
        self.0[dot.site.at()] >= dot.seq
    }

    /// Whether every entry is at least the other's.
    pub fn covers(&self, other: &Vector) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine >= theirs)
    }

    /// The entries in roster order.
    pub fn entries(&self) -> impl Iterator<Item = (SiteIx, Seq)> + '_ {
        self.0
            .iter()
            .enumerate()
            .map(|(at, &seq)| (SiteIx(at as u8), seq))
    }
}
