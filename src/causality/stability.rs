//! Which operations are in everybody's past.

use super::{Seq, SiteIx, Vector};

/// What every site is known to have observed, and the minimum of it.
///
/// An operation at or below the minimum is in the past of every operation still to come, so nothing can
/// conflict with it any more.
#[derive(Debug, Clone)]
pub struct Stability {
    observed: Vec<Vector>,
    stable: Vector,
}

impl Stability {
    /// Nothing observed by any of `sites`.
    pub fn new(sites: usize) -> Stability {
        Stability {
            observed: vec![Vector::zero(sites); sites],
            stable: Vector::zero(sites),
        }
    }

    /// What `site` has said of itself; true if the stable point moved.
    pub fn observe(&mut self, site: SiteIx, past: &Vector) -> bool {
        self.observed[site.at()].join(past) && self.recompute()
    }

    /// One entry of what `site` has observed; true if the stable point moved.
    pub fn observe_one(&mut self, site: SiteIx, of: SiteIx, seq: Seq) -> bool {
        if self.observed[site.at()].get(of) >= seq {
            return false;
        }
        self.observed[site.at()].advance(of, seq);
        self.recompute()
    }

    /// What `site` has observed, as far as it is known here.
    pub fn observed(&self, site: SiteIx) -> &Vector {
        &self.observed[site.at()]
    }

    /// The minimum over all sites.
    pub fn stable(&self) -> &Vector {
        &self.stable
    }

    /// Takes over a stable point that was known before a restart.
    pub fn recover(&mut self, stable: &Vector) {
        for vector in &mut self.observed {
            vector.join(stable);
        }
        self.stable.join(stable);
    }

    fn recompute(&mut self) -> bool {
        let mut low = self.observed[0].clone();
        for vector in &self.observed[1..] {
            low.meet(vector);
        }
        self.stable.join(&low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_site_decides() {
        let [a, b] = [SiteIx(0), SiteIx(1)];
        let mut stability = Stability::new(2);
        assert!(!stability.observe_one(a, a, 7));
        assert!(stability.observe_one(b, a, 5));
        assert_eq!(stability.stable().get(a), 5);
        assert!(!stability.observe_one(b, a, 4));
        assert_eq!(stability.stable().get(b), 0);
    }
}
